"""What a tracker is told of a run, and what of a row it can draw."""

import math
import re
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
    past_tokens: int  # that the ancestors were trained on
    tokens_per_step: int

    def tokens_at(self, step: int) -> int:
        """Tokens of the whole lineage up to a step: one axis for all its runs."""
        return self.past_tokens + step * self.tokens_per_step


_JUDGED = ("eval/", "report/", "forgetting/", "behaviour/")
_DATA = ("share/", "epochs/", "tokens", "lineage_tokens")
_TIME = re.compile(r"mfu|input_wait_share|.*_(secs|bytes|per_sec|per_sec_per_device)")


def tag(key: str) -> str:
    """A figure of metrics.jsonl under its group: train/, eval/, time/ or data/."""
    if key.startswith(_JUDGED):
        return key if key.startswith("eval/") else f"eval/{key}"
    if _TIME.fullmatch(key):
        return f"time/{key}"
    return f"data/{key}" if key.startswith(_DATA) else f"train/{key}"


# What is under train/ without being a figure of the objective.
_OF_THE_RUN = ("loss", "lr", "grad_norm", "nonfinite_steps")
_BESIDE = ("guard/", "foretold/", "average/")


def of_objective(row: Mapping) -> dict[str, float]:
    """What the objective told at a step beside its loss, by its own names."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float)
        and key not in ("step", *_OF_THE_RUN)
        and not key.startswith(_BESIDE)
        and tag(key).startswith("train/")
    }


def scalars(row: Mapping) -> dict[str, float]:
    """The row's finite numbers; run_id and the like are no curves, and `step` is the axis."""
    return {
        tag(key): float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and key != "step"
    }
