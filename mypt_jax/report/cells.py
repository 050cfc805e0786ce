"""How figures are written, and what stands where there is none."""

import math
from collections.abc import Mapping, Sequence

from mypt_jax.report import standing
from mypt_jax.report.run import Run, perplexity
from mypt_jax.runs.comparison import UNKNOWN, Difference, Refusal

Change = Difference | Refusal | None

NONE = "-"
_FEW = 6  # names that are all given


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: all of a few, else how many more there are."""
    if len(names) <= _FEW:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def loss_text(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def perplexity_text(loss: float | None) -> str:
    return NONE if loss is None else large_text(perplexity(loss), ".1f")


def large_text(value: float, form: str) -> str:
    """A figure in a form, unless that would be a row of digits."""
    return f"{value:{form}}" if abs(value) < 1e6 else f"{value:.2e}"


def rate_text(value: float) -> str:
    """3e-5, 1.5e-4: as the guide writes learning rates."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def percent_text(change: Change) -> str:
    return f"{change.percent:+.1f} %" if isinstance(change, Difference) else empty_text(change)


def nats_text(change: Change) -> str:
    if not isinstance(change, Difference):
        return empty_text(change)
    return f"{change.nats:+.3f}{error_text(change)}"


def error_text(change: Difference) -> str:
    return f" +/- {change.stderr:.3f}" if math.isfinite(change.stderr) else ""


def change_text(change: Change) -> str:
    return empty_text(change) or f"{nats_text(change)} nats ({percent_text(change)})"


def drift_text(run: Run, role: str) -> str:
    found = run.drift(role)
    if found is None:
        return UNKNOWN if run.is_domain_stage else NONE
    return measured_text(found)


def measured_text(found: tuple[float, float]) -> str:
    bar = f" +/- {found[1]:.3f}" if math.isfinite(found[1]) else ""
    return f"{found[0]:.3f}{bar}"


def empty_text(change: Change) -> str:
    """What stands where there is no figure."""
    if change is None:
        return NONE
    return change.word if isinstance(change, Refusal) else ""


def standing_text(run: Run, name: str, apart: Mapping[str, str]) -> str:
    """A run's loss among those of other runs; told apart where it is not of the same text."""
    return loss_text(run.final.get(name)) + apart_text(run, apart)


def apart_text(run: Run, apart: Mapping[str, str]) -> str:
    """Behind a figure that does not stand beside the others."""
    return f" ({Refusal(apart[run.name]).word})" if run.name in apart else ""


def reasons(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Why figures are missing, or are of a part of the sources only: for below a table."""
    found = []
    for run in runs:
        for name in names:
            change = run.against_baseline(name) if run.is_domain_stage else None
            if isinstance(change, Refusal):
                found.append(f"{run.name}, {name}: {change.reason}")
            elif change is not None and change.left_out:
                found.append(
                    f"{run.name}, {name}: over {', '.join(change.sources)} only "
                    f"({'; '.join(dict.fromkeys(change.left_out.values()))})"
                )
    for name in names:
        found += [f"{run}, {name}: {why}" for run, why in standing.apart(runs, name).items()]
    return "".join(f" {one[0].upper()}{one[1:]}." for one in dict.fromkeys(found))


def steps_text(run: Run) -> str:
    return f"{run.step:,}" if run.finished else f"{run.step:,} of {run.num_steps:,}, unfinished"


def init_text(run: Run) -> str:
    """Where the run came from."""
    if run.merged_from:
        return " ".join(_part_text(*one) for one in zip(run.merged_from, run.merged, strict=True))
    if not run.is_domain_stage:
        return "scratch" if run.config["init_from"] == "scratch" else run.config["init_from"]
    return start_text(run)


def start_text(run: Run) -> str:
    """What a run's changes are against: its parent, of a merged run the last shared ancestor."""
    if not run.is_domain_stage:
        return init_text(run)
    return run.parent.name if run.parent else run.record["parent"]["path"]


def _part_text(recorded: Mapping, run: Run | None) -> str:
    """+0.33 v5: a part of a merged run, with its weight."""
    return f"{recorded['weight']:+.3g} {run.name if run else recorded['path']}"


def recipe_texts(run: Run) -> tuple[str, str]:
    """(peak_lr, replay ratio); a merged run has none."""
    if run.merged_from:
        return NONE, NONE
    return rate_text(run.peak_lr), f"{run.replay_ratio:.0%}"
