"""Which documents of a build are taken, and which of them are val."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from data_pipeline import hashing
from data_pipeline.prepare import spill

_NONE = np.zeros(0, np.uint64)


def _none() -> np.ndarray:
    return _NONE


@dataclasses.dataclass(frozen=True)
class Selection:
    """The decision for one source: the first `limit_tokens` of its order, val by split hash."""

    source: str
    available_tokens: int
    limit_tokens: int
    val_tokens: int
    duplicates: int
    known: int  # left out: in `excluded`
    threshold: int  # a document is val when its split hash is below this,
    val_keys: np.ndarray  # or among these (sorted uint64),
    train_keys: np.ndarray  # but not among these
    val_docs: np.ndarray  # content hashes of the val documents, sorted
    excluded: np.ndarray  # content hashes that are not taken, sorted
    is_short: bool = False  # it cannot be split: all is train
    # What an append decides of near-duplicates of what is there (sides.py): content hashes of
    # texts that are val, or train, whatever their split hash says; and numbers for the report.
    to_val: np.ndarray = dataclasses.field(default_factory=_none)
    to_train: np.ndarray = dataclasses.field(default_factory=_none)
    moved: int = 0
    torn: int = 0

    def is_val(self, rows: np.ndarray) -> np.ndarray:
        """bool[N]: the rows that are val."""
        by_hash = _is_val(rows["split"], self.threshold, self.val_keys, self.train_keys)
        is_val = by_hash & ~hashing.contains(self.to_train, rows["doc"])
        return is_val | hashing.contains(self.to_val, rows["doc"])


def _is_val(split, threshold: int, val_keys, train_keys) -> np.ndarray:
    below = split < np.uint64(min(threshold, (1 << 64) - 1))
    return (below | hashing.contains(val_keys, split)) & ~hashing.contains(train_keys, split)


def available(store: spill.Spill, source: str, excluded: np.ndarray) -> tuple[int, int]:
    """Returns (tokens of a source's distinct documents, how many documents are excluded)."""
    tokens = known = 0
    for _, rows in store.rows(source):
        new = ~hashing.contains(excluded, rows["doc"])
        tokens += int(rows["tokens"][new].sum())
        known += int((~new).sum())
    return tokens, known


def select(
    store: spill.Spill,
    source: str,
    *,
    limit_tokens: int | None,
    val_fraction: float,
    cut: bool,
    excluded: np.ndarray,
) -> Selection:
    """Decides for one source; reads only the table of its documents.

    Sources of many documents use a threshold on the split hash, which an append can repeat. Where
    few pieces make that too coarse (`cut`), the lowest hashes are val up to the fraction.
    """
    have, known = available(store, source, excluded)
    limit = have if limit_tokens is None else min(limit_tokens, have)
    threshold, val_keys, train_keys = 0, _NONE, _NONE

    def taken():
        return take(store, source, limit_tokens=limit, excluded=excluded)

    if val_fraction > 0 and cut:
        val_keys = _lowest(taken(), val_fraction)
    elif val_fraction > 0:
        threshold = int(val_fraction * (1 << 64))
        val_keys, train_keys = _at_least_one(taken(), threshold)
    every_tokens = val_tokens = 0
    val_docs = [_NONE]
    for _, rows, sizes in taken():
        chosen = _is_val(rows["split"], threshold, val_keys, train_keys)
        every_tokens += int(sizes.sum())
        val_tokens += int(sizes[chosen].sum())
        val_docs.append(rows["doc"][chosen])
    is_short = val_fraction > 0 and val_tokens in (0, every_tokens)
    if is_short:  # one piece only
        threshold, val_tokens, val_keys, train_keys, val_docs = 0, 0, _NONE, _NONE, [_NONE]
    return Selection(
        source=source,
        available_tokens=have,
        limit_tokens=limit,
        val_tokens=val_tokens,
        duplicates=store.duplicates[source],
        known=known,
        threshold=threshold,
        val_keys=val_keys,
        train_keys=train_keys,
        val_docs=np.sort(np.concatenate(val_docs)),
        excluded=excluded,
        is_short=is_short,
    )


def _at_least_one(taken: Iterable, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """The split keys that are val, or train, although the threshold says nothing of the kind."""
    lowest, highest = (1 << 64) - 1, 0
    for _, rows, _ in taken:
        lowest = min(lowest, int(rows["split"].min()))
        highest = max(highest, int(rows["split"].max()))
    if lowest < highest and lowest >= threshold:
        return np.array([lowest], np.uint64), _NONE
    if lowest < highest < threshold:
        return _NONE, np.array([highest], np.uint64)
    return _NONE, _NONE


def _lowest(taken: Iterable, fraction: float) -> np.ndarray:
    """The split keys of lowest hash that hold at least the fraction, but never all; sorted."""
    columns = [(_NONE, _NONE), *((rows["split"], sizes) for _, rows, sizes in taken)]
    split, tokens = (np.concatenate(column) for column in zip(*columns, strict=True))
    keys, inverse = np.unique(split, return_inverse=True)
    held = np.bincount(inverse, weights=tokens, minlength=len(keys))
    count = int(np.searchsorted(np.cumsum(held), fraction * held.sum())) + 1
    return keys[: min(count, len(keys) - 1)]


def take(store: spill.Spill, source: str, *, limit_tokens: int, excluded: np.ndarray):
    """Yields (bucket, rows, tokens of each) in order until the limit; the last may be shortened."""
    room = limit_tokens
    for bucket, rows in store.rows(source):
        rows = rows[~hashing.contains(excluded, rows["doc"])]
        sizes = rows["tokens"].astype(np.int64)
        before = np.cumsum(sizes) - sizes
        # A shortened document keeps one token of text at least, beside its end-of-text.
        keep = before + 2 <= room
        sizes = np.minimum(sizes, room - before)[keep]
        room -= int(sizes.sum())
        if keep.any():
            yield bucket, rows[keep], sizes
        if room < 2:
            return
