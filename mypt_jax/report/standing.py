"""Which runs stand side by side: those whose losses of a role are of the same text."""

from collections.abc import Sequence

from mypt_jax.report.run import Run
from mypt_jax.runs import comparison
from mypt_jax.runs.comparison import Difference


def groups(runs: Sequence[Run], name: str) -> list[list[Run]]:
    """Those with the same text of a role or source together, most runs first."""
    found = comparison.alike([run.result for run in runs], name)
    return [[runs[number] for number in group] for group in found]


def apart(runs: Sequence[Run], name: str) -> dict[str, str]:
    """{run: why its loss of this role or source does not stand beside that of most}."""
    most = next(iter(groups(runs, name)), [])
    found = {}
    for run in runs:
        if name not in run.final or run in most:
            continue
        if run.result.fault or not most:
            found[run.name] = f"{comparison.UNKNOWN}: {run.result.fault}"
        else:
            found[run.name] = comparison.why_apart(run.result, most[0].result, name)
    return found


def baseline(runs: Sequence[Run], name: str) -> float | None:
    """The base stage's loss on the text that most runs were measured on."""
    for run in next(iter(groups(runs, name)), []):
        change = run.against_baseline(name)
        if isinstance(change, Difference) and not change.left_out:
            return change.start
    return None
