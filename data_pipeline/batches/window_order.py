"""The order of one source's windows over a lineage: none comes twice before all came once.

A run goes on where its ancestors stopped: it shuffles, by its own seed, the windows that they left
in the epoch, and begins a new epoch when none are left. What a run drew is a Segment; the segments
of the ancestors and the seed of the run decide everything, so nothing else is state.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipeline import hashing

VERSION = 3  # of the order: raised when the same settings would give other windows
FROM_THE_START = 2  # the version in which every run began at window 0, whatever its ancestors saw


@dataclasses.dataclass(frozen=True)
class Segment:
    """What one run drew of a source: `windows` of them, in the order of its `seed` and `key`."""

    seed: int
    key: str  # the source's name in that run, role/source
    windows: int
    version: int = VERSION

    @property
    def identity(self) -> str:
        """What is hashed into the run's order."""
        return f"{self.seed}/{self.key}"


def windows_per_epoch(tokens: int, block_size: int) -> int:
    """How many windows a text of `tokens` has, wherever its epoch is cut: the same in every one."""
    return max(1, (tokens - block_size) // block_size)


class WindowOrder:
    """Which window of a source the run's n-th is; `first` windows came before, epochs included."""

    def __init__(self, per_epoch: int, *, past: Sequence[Segment], identity: str):
        """`past`: the segments of the ancestors, the oldest first."""
        self.per_epoch = per_epoch
        self._identity = identity
        # The epoch that the run finds: its number, who chose where its text is cut, what is left.
        self._epoch, self._begun_by, self._left = 0, identity, np.arange(per_epoch, dtype=np.uint64)
        for segment in past:
            self._pass_over(segment)
        self.first = (self._epoch + 1) * per_epoch - len(self._left)
        self._of_epoch = functools.lru_cache(maxsize=2)(self._make_epoch)

    def __getstate__(self) -> dict:
        """For another process, which has its own memory of epochs."""
        return {name: value for name, value in vars(self).items() if name != "_of_epoch"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._of_epoch = functools.lru_cache(maxsize=2)(self._make_epoch)

    def __getitem__(self, n: int) -> tuple[int, int]:
        """(64 bits that say where the epoch's text is cut, the window's number in it)."""
        epoch, place = divmod(self.first + n, self.per_epoch)
        if epoch == self._epoch:
            place -= self.per_epoch - len(self._left)
        cut, order = self._of_epoch(epoch)
        return cut, int(order[place])

    def _make_epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        found = epoch == self._epoch
        numbers = self._left if found else np.arange(self.per_epoch, dtype=np.uint64)
        cut = _digest(self._begun_by if found else self._identity, epoch)[0]
        return cut, _shuffled(numbers, self._identity, epoch).astype(np.uint32)

    def _pass_over(self, segment: Segment) -> None:
        whole = np.arange(self.per_epoch, dtype=np.uint64)
        if segment.version == FROM_THE_START:
            epoch, used = divmod(segment.windows, self.per_epoch)
            if epoch < self._epoch:
                return
            drawn = _shuffled(whole, segment.identity, epoch)[:used]
            left = self._left if epoch == self._epoch else whole
            if len(left) == self.per_epoch:
                self._begun_by = segment.identity
            self._epoch, self._left = epoch, np.setdiff1d(left, drawn, assume_unique=True)
        else:
            windows = segment.windows
            if windows >= len(self._left):
                more, windows = divmod(windows - len(self._left), self.per_epoch)
                self._epoch, self._left = self._epoch + 1 + more, whole
            if windows:
                if len(self._left) == self.per_epoch:
                    self._begun_by = segment.identity
                drawn = _shuffled(self._left, segment.identity, self._epoch)[:windows]
                self._left = np.setdiff1d(self._left, drawn, assume_unique=True)
        if not len(self._left):
            self._epoch, self._left = self._epoch + 1, whole
        if len(self._left) == self.per_epoch:
            self._begun_by = self._identity


def _digest(identity: str, epoch: int) -> tuple[int, int]:
    """(where the text is cut, the seed of the shuffle) of an epoch, 64 bits each."""
    digest = hashlib.blake2b(f"{identity}/{epoch}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _shuffled(numbers: np.ndarray, identity: str, epoch: int) -> np.ndarray:
    """`numbers` in the order of their hashes: any part of an epoch is shuffled as the whole is."""
    keys = hashing.order_keys(numbers, _digest(identity, epoch)[1])
    return numbers[np.argsort(keys, kind="stable")]
