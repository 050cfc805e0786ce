"""Which documents of a build are taken, and which of them are val."""

import dataclasses

import numpy as np

from data_pipeline import errors, spill


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

    def is_val(self, rows: np.ndarray) -> np.ndarray:
        """bool[N]: the rows that are val."""
        return _is_val(rows["split"], self.threshold, self.val_keys, self.train_keys)


def _is_val(split, threshold: int, val_keys, train_keys) -> np.ndarray:
    below = split < np.uint64(min(threshold, (1 << 64) - 1))
    return (below | np.isin(split, val_keys)) & ~np.isin(split, train_keys)


def available(store: spill.Spill, source: str, excluded: np.ndarray) -> tuple[int, int, int]:
    """Returns (tokens of a source's distinct documents, duplicates and excluded ones)."""
    tokens = duplicates = known = 0
    for _, rows, dropped in store.rows(source):
        new = ~np.isin(rows["doc"], excluded)
        tokens += int(rows["tokens"][new].sum())
        duplicates += dropped
        known += int((~new).sum())
    return tokens, duplicates, known


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
    have, duplicates, known = available(store, source, excluded)
    limit = have if limit_tokens is None else min(limit_tokens, have)
    taken = [
        (rows["split"], rows["doc"], tokens)
        for _, rows, tokens in take(store, source, limit_tokens=limit, excluded=excluded)
    ]
    split, doc, tokens = (np.concatenate(column) for column in zip(*taken, strict=True))
    none = np.zeros(0, np.uint64)
    threshold, val_keys, train_keys = 0, none, none
    if val_fraction > 0:
        if cut:
            val_keys = _lowest(split, tokens, val_fraction)
        else:
            threshold = int(val_fraction * (1 << 64))
            keys = np.unique(split)
            val = _is_val(keys, threshold, none, none)
            if len(keys) > 1 and not val.any():
                val_keys = keys[:1]
            elif len(keys) > 1 and val.all():
                train_keys = keys[-1:]
    chosen = _is_val(split, threshold, val_keys, train_keys)
    if val_fraction > 0 and (not chosen.any() or chosen.all()):
        raise errors.UserError(
            f"source {source} has {tokens.sum()} tokens in one piece, which cannot be split into "
            "train and val: give more text, or --val_fraction=0"
        )
    return Selection(
        source=source,
        available_tokens=have,
        limit_tokens=limit,
        val_tokens=int(tokens[chosen].sum()),
        duplicates=duplicates,
        known=known,
        threshold=threshold,
        val_keys=np.sort(val_keys),
        train_keys=train_keys,
        val_docs=np.sort(doc[chosen]),
    )


def _lowest(split: np.ndarray, tokens: np.ndarray, fraction: float) -> np.ndarray:
    """The split keys of lowest hash that hold at least the fraction, but never all of them."""
    keys, inverse = np.unique(split, return_inverse=True)
    held = np.bincount(inverse, weights=tokens, minlength=len(keys))
    count = int(np.searchsorted(np.cumsum(held), fraction * held.sum())) + 1
    return keys[: min(count, len(keys) - 1)]


def take(store: spill.Spill, source: str, *, limit_tokens: int, excluded: np.ndarray):
    """Yields (bucket, rows, tokens of each) in order until the limit; the last may be shortened."""
    room = limit_tokens
    for bucket, rows, _ in store.rows(source):
        rows = rows[~np.isin(rows["doc"], excluded)]
        sizes = rows["tokens"].astype(np.int64)
        before = np.cumsum(sizes) - sizes
        # A shortened document keeps one token of text at least, beside its end-of-text.
        keep = before + 2 <= room
        sizes = np.minimum(sizes, room - before)[keep]
        room -= int(sizes.sum())
        yield bucket, rows[keep], sizes
        if room < 2:
            return
