"""Runs as a table: where each stands, what it came to, and what room it takes."""

import os
from collections.abc import Mapping, Sequence

from data_pipeline.batches.mixture import ROLES
from mypt_jax import guide
from mypt_jax.report import cells, standing
from mypt_jax.report.run import Run
from mypt_jax.runs import layout, lease, lease_place
from mypt_jax.runs.comparison import Difference

_HEADER = ("run", "state", "from", "domain", "general", "change, nats", "verdict", "MB")


def table(found: Sequence[Run]) -> list[str]:
    """The lines of the table, its header first."""
    apart = {role: standing.apart(found, role) for role in ROLES}
    return aligned([_HEADER, *(_row(run, apart) for run in found)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of the same length as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(run: Run, apart: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """`apart`: {role: {run: why its loss does not stand beside those of most}}."""
    change = run.against_baseline("general") if run.is_domain_stage else None
    is_measured = isinstance(change, Difference)
    return (
        str(run.path),
        state(run),
        run.parent.name if run.parent else str(run.config["init_from"]),
        *(cells.standing_text(run, role, apart[role]) for role in ROLES),
        cells.nats_text(change),
        guide.verdict(change.share) if is_measured else cells.NONE,
        f"{size(str(run.path)) / 1e6:,.1f}",
    )


def state(run: Run) -> str:
    """finished, or where it stands, who is at it and how long it will take."""
    if run.finished:
        return f"finished at {run.finished['step']:,}"
    done = stands_at(run)
    stands = f"{done:,} of {run.num_steps:,}"
    if not lease.holder(lease_place.InDirectory(str(run.path))):
        return f"stopped at {stands}"
    secs = run.value("step_secs")
    minutes = "" if secs is None else f", {secs * (run.num_steps - done) / 60:.0f} min left"
    return f"at work, {stands}{minutes}"


def stands_at(run: Run) -> int:
    """The newest step that an unfinished run logged or saved."""
    return max([run.step, *layout.steps(str(run.path))])


def size(path: str) -> int:
    """Bytes of all files at and under a path."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )
