"""Intervals of what recipes forget, over seeds and documents, by resampling both.

Axes: S seeds, D documents, R resamples. Source: Efron and Tibshirani 1993, "An Introduction to the
Bootstrap", percentile intervals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mypt_jax.runs.evaluations import Evaluation

_RESAMPLES = 4000
_PERCENT = (2.5, 97.5)


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


class Resamples:
    """One draw of seeds and documents that all figures of a comparison share, so that what two
    recipes have in common falls out of their difference."""

    def __init__(self, base: Evaluation, seeds: int):
        self._base = base
        self._random = np.random.default_rng(0)
        self._seeds = {seeds: self._random.integers(seeds, size=(_RESAMPLES, seeds))}
        self._weights: dict[str, np.ndarray] = {}

    def change(self, runs: Sequence[Evaluation], name: str, measure: str = "nll") -> np.ndarray:
        """float64[1 + R] of role `name`, per token, mean over seeds: the estimate, then resamples.

        `nll`: over the base's; other measures as they are.
        """
        sums_SD, tokens_D = self._sums(runs, name, measure)
        if measure == "nll":
            sums_SD = sums_SD - self._sums([self._base], name, measure)[0]
        weights_RD = self._documents(name, len(tokens_D))
        mean_RD = sums_SD[self._seeds_of(len(runs))].mean(1)
        resampled = (weights_RD * mean_RD).sum(1) / (weights_RD @ tokens_D)
        return np.concatenate([[sums_SD.mean(0).sum() / tokens_D.sum()], resampled])

    def _sums(self, runs, name: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """(float64[S, D], tokens float64[D]) over the documents of a role's sources."""
        sources = [[*one.of(name).values()] for one in runs]
        sums_SD = np.stack([np.concatenate([s.sums[measure] for s in of]) for of in sources])
        return sums_SD, np.concatenate([s.tokens_D for s in sources[0]]).astype(np.float64)

    def _seeds_of(self, count: int) -> np.ndarray:
        """Which seeds are drawn, [R, S]; of a recipe that has fewer of them a draw of its own."""
        if count not in self._seeds:
            own = np.random.default_rng(count)
            self._seeds[count] = own.integers(count, size=(_RESAMPLES, count))
        return self._seeds[count]

    def _documents(self, name: str, count: int) -> np.ndarray:
        """How often each document is drawn, [R, D]; the same for every recipe."""
        if name not in self._weights:
            even = np.full(count, 1 / count)
            self._weights[name] = self._random.multinomial(count, even, size=_RESAMPLES)
        return self._weights[name]


def interval(found: np.ndarray) -> Interval:
    """Of an estimate and its resamples."""
    low, high = np.percentile(found[1:], _PERCENT)
    return Interval(float(found[0]), float(low), float(high))


def less(mine: np.ndarray, other: np.ndarray) -> Interval | None:
    """By how many per cent `mine` is below `other`; None where that is not surely above 0, and so
    nothing that there could be less of."""
    if interval(other).low <= 0:
        return None
    return interval(100 * (1 - mine / other))
