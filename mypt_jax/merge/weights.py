"""Weights of runs: read from RUN:WEIGHT, checked, and their parameters' sum."""

import math
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax.runs import layout

SUM_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def parse(given: Sequence[str]) -> list[tuple[str, float]]:
    """[(run, weight)] of RUN or RUN:WEIGHT each; equal weights where none is given.

    What stands after the last colon is a weight only if it is a number, and no part of a run's
    name. Raises UserError.
    """
    parts = [one.rpartition(":") for one in given]
    has_weight = [
        bool(run and _NUMBER.fullmatch(number))
        and not os.path.isfile(layout.join(one, layout.CONFIG))
        for one, (run, _, number) in zip(given, parts, strict=True)
    ]
    if not any(has_weight):
        return [(run, 1 / len(given)) for run in given]
    if not all(has_weight):
        raise UserError(
            f"{given[has_weight.index(False)]} has no weight, but others have: give every run one "
            "(RUN:WEIGHT) or none, for equal weights"
        )
    found = [(run, float(number)) for run, _, number in parts]
    total = math.fsum(weight for _, weight in found)
    if not abs(total - 1) <= SUM_TOLERANCE:
        raise UserError(
            f"the weights {', '.join(f'{weight:g}' for _, weight in found)} sum to {total:g}, "
            "wanted 1"
        )
    return found


def combine(parts: Sequence[tuple[float, Mapping]]) -> dict:
    """The sum of weight x parameters, host arrays of equal trees, in the dtype of the first.

    Summed in float64, so that one run alone, or with itself, is that run to the last bit; what has
    no weight is left out.
    """
    import jax  # here, so that a wrong weight waits for no jax

    parts = [one for one in parts if one[0]]

    def add(*leaves: np.ndarray) -> np.ndarray:
        total = parts[0][0] * leaves[0].astype(np.float64)
        for (weight, _), leaf in zip(parts[1:], leaves[1:], strict=True):
            total += weight * leaf.astype(np.float64)
        return total.astype(leaves[0].dtype)

    return jax.tree.map(add, *(params for _, params in parts))
