"""What a tracker is told of a run, and what of a row it can draw."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Tracked(NamedTuple):
    """`run_id` names the run over all its resumptions; rows from `first_step` on are (again)
    written: what an interrupted run logged at it and later is to be hidden. `say`: a line for the
    user."""

    workdir: str
    config: Mapping  # without secrets
    run_id: str
    first_step: int
    say: Callable[[str], None]


def scalars(row: Mapping) -> dict[str, float]:
    """The row's finite numbers; run_id and the like are no curves, and `step` is the axis."""
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and key != "step"
    }
