"""The order of sources in a mixture: exact shares, every prefix within one window of them.

Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980): with k sources
no prefix of N windows differs from N * share by more than 1 - 1 / (2 (k - 1)). Taking the largest
deficit, or fixed strides, does not keep that bound for three or more sources.
"""

import math
import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# Up to this many windows a period is stored; longer ones are computed as far as they are needed.
_LONGEST_PERIOD = 1_000_000
_GROWTH = 1 << 14


class Schedule:
    """`schedule[k]` = (source, how many windows of that source came before) for window k."""

    def __init__(self, shares: Sequence[Fraction]):
        """`shares` are positive and sum to 1."""
        assert shares and all(share > 0 for share in shares) and sum(shares) == 1
        whole = math.lcm(*(share.denominator for share in shares))
        weights = [int(share * whole) for share in shares]
        self.shares = tuple(shares)
        self.period = whole
        self._weights = weights
        self._rule = _Tijdeman(weights)
        self._source = np.zeros(0, np.int32)
        self._before = np.zeros(0, np.int64)
        self._positions: list[np.ndarray] = [np.zeros(0, np.int64) for _ in weights]
        self._stored = whole <= _LONGEST_PERIOD
        self._growing = threading.Lock()

    def __reduce__(self):
        return Schedule, (self.shares,)

    def __getitem__(self, k: int) -> tuple[int, int]:
        rounds, k = divmod(k, self.period) if self._stored else (0, k)
        if k >= len(self._source):
            self._extend(k + 1)
        source = int(self._source[k])
        return source, int(self._before[k]) + rounds * self._weights[source]

    def sources(self, n: int) -> np.ndarray:
        """Returns int32[n]: the sources of windows 0..n-1, at most a period where it is stored."""
        if n > len(self._source):
            self._extend(n)
        return self._source[:n]

    def most_rows(self, of: set[int], *, batch_size: int, shards: int, parts: int) -> int:
        """Returns the most windows of the sources `of` that a shard has in a part of any batch.

        A batch is split into `shards` of consecutive rows, of which part a has rows a, a + parts..
        """
        rows = batch_size // (shards * parts)
        if not self._stored:
            return rows  # too long to look through; no more can be
        whole = math.lcm(self.period, batch_size)
        if whole > _LONGEST_PERIOD:
            return rows
        sources = np.tile(self.sources(self.period), whole // self.period)
        is_wanted = np.isin(sources, sorted(of)).reshape(-1, shards, rows, parts)
        return int(is_wanted.sum(axis=2).max())

    def counts(self, n: int) -> list[int]:
        """Returns how many of the windows 0..n-1 each source has."""
        rounds, n = divmod(n, self.period) if self._stored else (0, n)
        if n > len(self._source):
            self._extend(n)
        return [
            rounds * weight + int(np.searchsorted(positions, n))
            for weight, positions in zip(self._weights, self._positions, strict=True)
        ]

    def _extend(self, n: int) -> None:
        with self._growing:
            known = len(self._source)
            if n <= known:
                return
            wanted = max(n, known + min(known, 64 * _GROWTH), _GROWTH)
            if self._stored:
                wanted = min(wanted, self.period)
            added = np.array(self._rule.next(wanted - known), np.int32)
            before = np.zeros(len(added), np.int64)
            for source, positions in enumerate(self._positions):
                mine = np.flatnonzero(added == source)
                before[mine] = len(positions) + np.arange(len(mine))
                self._positions[source] = np.concatenate([positions, known + mine])
            # The longer arrays replace the shorter ones whole: another thread sees either.
            self._before = np.concatenate([self._before, before])
            self._source = np.concatenate([self._source, added])


class _Tijdeman:
    """The rule itself, in integers: source i has weight w[i] of W in every window."""

    def __init__(self, weights: list[int]):
        self._weights = weights
        self._whole = sum(weights)
        self._slack = 2 * (len(weights) - 1)
        # Deadlines are compared in units of 1 / (slack * lcm of the weights).
        common = math.lcm(*weights)
        self._units = [common // weight for weight in weights]
        self._drawn = [0] * len(weights)
        self._n = 0

    def next(self, count: int) -> list[int]:
        """Returns the sources of the next `count` windows."""
        if len(self._weights) == 1:
            self._n += count
            return [0] * count
        weights, units, drawn, whole = self._weights, self._units, self._drawn, self._whole
        slack = self._slack
        # Source i is eligible when slack * (w n - W x) >= W; among those the one whose surplus
        # would first reach the bound, at n = (1 - 1 / slack + x) W / w, is drawn.
        deadline = [(slack - 1 + slack * x) * unit for x, unit in zip(drawn, units, strict=True)]
        owed = [
            slack * (weight * self._n - whole * x) for weight, x in zip(weights, drawn, strict=True)
        ]
        gain = [slack * weight for weight in weights]
        step = [slack * unit for unit in units]
        sources = range(len(weights))
        chosen = []
        for _ in range(count):
            best = -1
            for i in sources:
                owed[i] += gain[i]
                if owed[i] >= whole and (best < 0 or deadline[i] < deadline[best]):
                    best = i
            chosen.append(best)
            owed[best] -= slack * whole
            deadline[best] += step[best]
            drawn[best] += 1
        self._n += count
        return chosen
