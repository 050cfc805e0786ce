"""The order of sources in a mixture: exact shares, every prefix within one window of them.

Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980): with k sources
no prefix of N windows differs from N * share by more than 1 - 1 / (2 (k - 1)). Taking the largest
deficit, or fixed strides, does not keep that bound for three or more sources.

It is a timetable of jobs: the x-th window of source i may be drawn from one moment on and must be
by another, and of the jobs that may be the most urgent one is. So any stretch of the order can be
had without what comes before it (`_Tijdeman.drawn`), and a resumed run computes nothing again.
"""

import collections
import heapq
import math
import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# Periods up to this many windows are looked through as a whole.
_LONGEST_PERIOD = 1_000_000
_CHUNK = 1 << 14  # windows computed together: 20 ms
_KEPT_CHUNKS = 256


class Schedule:
    """`schedule[k]` = (source, how many windows of that source came before) for window k."""

    def __init__(self, shares: Sequence[Fraction]):
        """`shares` are positive and sum to 1."""
        assert shares and all(share > 0 for share in shares) and sum(shares) == 1
        whole = math.lcm(*(share.denominator for share in shares))
        self.shares = tuple(shares)
        self.period = whole
        self._weights = [int(share * whole) for share in shares]
        self._rule = _Tijdeman(self._weights)
        self._chunks: collections.OrderedDict[int, _Chunk] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self):
        return Schedule, (self.shares,)

    def __getitem__(self, k: int) -> tuple[int, int]:
        rounds, k = divmod(k, self.period)
        chunk = self._chunk(k // _CHUNK)
        source = int(chunk.sources[k % _CHUNK])
        before = int(chunk.before[k % _CHUNK]) + rounds * self._weights[source]
        return source, before

    def sources(self, n: int) -> np.ndarray:
        """Returns int32[n]: the sources of windows 0..n-1, at most a period."""
        n = min(n, self.period)
        parts = [self._chunk(number).sources for number in range(-(-n // _CHUNK))]
        return np.concatenate([np.zeros(0, np.int32), *parts])[:n]

    def most_rows(self, of: set[int], *, batch_size: int, shards: int, parts: int) -> int:
        """Returns the most windows of the sources `of` that a shard has in a part of any batch.

        A batch is split into `shards` of consecutive rows, of which part a has rows a, a + parts..
        """
        rows = batch_size // (shards * parts)
        whole = math.lcm(self.period, batch_size)
        if whole > _LONGEST_PERIOD:
            return rows  # too long to look through; no more can be
        sources = np.tile(self.sources(self.period), whole // self.period)
        is_wanted = np.isin(sources, sorted(of)).reshape(-1, shards, rows, parts)
        return int(is_wanted.sum(axis=2).max())

    def counts(self, n: int) -> list[int]:
        """Returns how many of the windows 0..n-1 each source has."""
        rounds, n = divmod(n, self.period)
        chunk = self._chunk(n // _CHUNK)
        within = np.bincount(chunk.sources[: n % _CHUNK], minlength=len(self._weights)).tolist()
        return [
            rounds * weight + first + more
            for weight, first, more in zip(self._weights, chunk.drawn, within, strict=True)
        ]

    def _chunk(self, number: int) -> "_Chunk":
        """Windows number * _CHUNK and on, up to the next chunk's or the period's end."""
        with self._lock:
            if number not in self._chunks:
                first = number * _CHUNK
                last = self._chunks.get(number - 1)
                drawn = self._rule.drawn(first) if last is None else last.drawn_after
                count = min(_CHUNK, self.period - first)
                self._chunks[number] = _Chunk(drawn, *self._rule.order(first, drawn, count))
                if len(self._chunks) > _KEPT_CHUNKS:
                    self._chunks.popitem(last=False)
            return self._chunks[number]


class _Chunk:
    """Consecutive windows: their sources, and how many of its source came before each."""

    def __init__(self, drawn: list[int], sources: list[int], drawn_after: list[int]):
        self.drawn, self.drawn_after = drawn, drawn_after
        self.sources = np.array(sources, np.int32)
        order = np.argsort(self.sources, kind="stable")
        counts = np.bincount(self.sources, minlength=len(drawn))
        starts = np.cumsum(counts) - counts
        self.before = np.empty(len(sources), np.int64)
        self.before[order] = np.arange(len(sources)) + np.repeat(np.array(drawn) - starts, counts)


class _Tijdeman:
    """The rule itself, in integers: source i has weight w[i] of W in every window.

    With slack = 2 (k - 1), source i's job x (its window number x) may be the n-th window of all
    from n = (1 + slack x) W / (slack w) on, and must be by 1 + (slack - 1 + slack x) W / (slack w).
    """

    def __init__(self, weights: list[int]):
        self._weights = weights
        self._whole = sum(weights)
        self._slack = 2 * (len(weights) - 1)
        # Deadlines (slack - 1 + slack x) / w of two sources that differ do so by 1 / w^2 or more:
        # so many more bits keep their order in whole numbers.
        self._bits = 2 * max(weights).bit_length()

    def order(self, n: int, drawn: list[int], count: int) -> tuple[list[int], list[int]]:
        """Returns the sources of windows n + 1 .. n + count, and what is drawn after them.

        `drawn` has for each source how many of the first n windows are its own.
        """
        drawn = list(drawn)
        if not count:
            return [], drawn
        if len(drawn) == 1:
            return [0] * count, [drawn[0] + count]
        weights, whole, slack, bits = self._weights, self._whole, self._slack, self._bits
        many = len(weights)
        # may_be[i] / per[i], rounded up, is the window from which source i's next job may be.
        per = [slack * weight for weight in weights]
        may_be = [whole * (1 + slack * x) - n * each for x, each in zip(drawn, per, strict=True)]
        step = whole * slack
        # Jobs by the window from which they may be, and those that already may, by deadline.
        opening: list[list[int]] = [[] for _ in range(count + 1)]
        ready: list[int] = []
        for i in range(many):
            opens = max(-(-may_be[i] // per[i]), 1)
            if opens <= count:
                opening[opens].append(i)
        chosen = []
        push, pop = heapq.heappush, heapq.heappop
        for window in range(1, count + 1):
            for i in opening[window]:
                deadline = ((slack - 1 + slack * drawn[i]) << bits) // weights[i]
                push(ready, deadline * many + i)  # of equal ones the first source's
            i = pop(ready) % many
            chosen.append(i)
            drawn[i] += 1
            may_be[i] += step
            opens = -(-may_be[i] // per[i])
            if opens <= window:  # the last job took the last window that it might
                opens = window + 1
            if opens <= count:
                opening[opens].append(i)
        return chosen, drawn

    def drawn(self, n: int) -> list[int]:
        """Returns for each source how many of the first n windows are its own.

        What is drawn some windows earlier is known up to which of the open jobs wait. Of the two
        extremes, the most urgent wait or the least urgent, the first stays at least as far behind
        as the truth by any deadline, the second at most: where they meet, they are the truth.
        """
        before = _CHUNK
        while before < n and len(self._weights) > 1:
            most_urgent, least_urgent = self._extremes(n - before)
            found = self.order(n - before, most_urgent, before)[1]
            if found == self.order(n - before, least_urgent, before)[1]:
                return found
            before *= 4
        return self.order(0, [0] * len(self._weights), n)[1]

    def _extremes(self, n: int) -> tuple[list[int], list[int]]:
        whole, slack = self._whole, self._slack
        opened = [max(0, (slack * w * n - whole) // (slack * whole) + 1) for w in self._weights]
        # Of each source at most the last job waits: all whose deadline is past are done.
        waiting = [
            i
            for i, (w, x) in enumerate(zip(self._weights, opened, strict=True))
            if x and whole * (slack - 1 + slack * (x - 1)) >= slack * w * n
        ]
        waiting.sort(key=lambda i: (Fraction(slack * opened[i] - 1, self._weights[i]), i))
        count = sum(opened) - n
        first, last = set(waiting[:count]), set(waiting[len(waiting) - count :])
        return (
            [x - (i in first) for i, x in enumerate(opened)],
            [x - (i in last) for i, x in enumerate(opened)],
        )
