"""How much of an evaluation text stands in a training text: near-duplicates and long equal runs."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipeline.batches import mixture
from data_pipeline.prepare import near_duplicates as clusters
from data_pipeline.tokens import shards, tokenizer

_BLOCK = 1 << 20
_rng = np.random.Generator(np.random.PCG64(1))
# Odd, so that it has an inverse modulo 2^64: a window's hash is a difference of two prefix sums.
_BASE = int(_rng.integers(1 << 62)) | 1
_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclasses.dataclass(frozen=True)
class NearDuplicate:
    """An evaluated document, numbered through all splits that are, and the train document that
    resembles it most."""

    val_key: str
    val_document: int
    train_key: str
    train_document: int
    jaccard: float
    val_text: str  # its beginning


@dataclasses.dataclass(frozen=True)
class Runs:
    """Evaluated tokens of one source inside long runs that the train text has too."""

    val_key: str
    train_key: str
    val_tokens: int
    covered_tokens: int
    examples: tuple[str, ...]


def texts(source: shards.Source, split: str, vocabulary: tokenizer.Tokenizer) -> Iterator[str]:
    """Yields the documents of a split as text."""
    stream, start = source.stream(split), 0
    for end in stream.doc_ends.tolist():
        tokens = stream[start:end]
        start = end
        yield vocabulary.decode(tokens[:-1] if tokens[-1] == vocabulary.eot else tokens)


def near_duplicates(
    train: Sequence[mixture.Component],
    val: Sequence[mixture.Component],
    *,
    min_jaccard: float,
    splits: Sequence[str] = ("val",),
) -> list[NearDuplicate]:
    """Returns for each document of `splits` of `val` its nearest train document of at least that
    similarity.

    Candidates share a MinHash band; similarity is Jaccard over shingles of 5 words.
    """
    clusters.check_available()
    from data_pipeline.similarity import minhash

    by_band: dict[tuple[int, int], list[int]] = {}
    known: list[tuple[str, int, np.ndarray, str]] = []
    for one in val:
        vocabulary = tokenizer.get(one.dataset.tokenizer)
        every = itertools.chain.from_iterable(texts(one.data, s, vocabulary) for s in splits)
        for number, text in enumerate(every):
            shingles = minhash.shingles(text)
            if not len(shingles):
                continue
            for band, key in enumerate(minhash.band_keys(shingles).tolist()):
                by_band.setdefault((band, key), []).append(len(known))
            known.append((one.key, number, shingles, text[:200]))
    best: dict[int, NearDuplicate] = {}
    for one in train:
        vocabulary = tokenizer.get(one.dataset.tokenizer)
        for number, text in enumerate(texts(one.data, "train", vocabulary)):
            shingles = minhash.shingles(text)
            if not len(shingles):
                continue
            candidates: set[int] = set()
            for band, key in enumerate(minhash.band_keys(shingles).tolist()):
                candidates.update(by_band.get((band, key), ()))
            for candidate in sorted(candidates):
                key, val_number, val_shingles, beginning = known[candidate]
                similarity = minhash.jaccard(shingles, val_shingles)
                nearest = best[candidate].jaccard if candidate in best else 0.0
                if similarity >= min_jaccard and similarity > nearest:
                    best[candidate] = NearDuplicate(
                        key, val_number, one.key, number, similarity, beginning
                    )
    return [best[candidate] for candidate in sorted(best)]


def shared_runs(
    train: Sequence[mixture.Component],
    val: Sequence[mixture.Component],
    *,
    run_tokens: int,
    max_examples: int,
    splits: Sequence[str] = ("val",),
) -> list[Runs]:
    """Returns what part of each of `val` stands in each train split in runs of that length.

    Runs do not cross an end-of-text. They are found by 64-bit hashes of every window.
    """
    tables = [_Table(one, run_tokens, splits) for one in val]
    found = []
    for other in train:
        for block in _blocks(other.data.stream("train"), run_tokens):
            theirs, fits = _window_hashes(block, run_tokens, other.dataset.eot)
            theirs = np.sort(theirs[fits])
            for table in tables:
                table.mark(theirs)
        for table in tables:
            runs = table.take(other.key, max_examples)
            if runs.covered_tokens:
                found.append(runs)
    return found


class _Table:
    """The window hashes of one evaluated source, and which of them the train text at hand has."""

    def __init__(self, one: mixture.Component, run_tokens: int, splits: Sequence[str]):
        self._component = one
        self._run_tokens = run_tokens
        streams = [one.data.stream(split) for split in splits]
        self._tokens = np.concatenate([stream[0 : len(stream)] for stream in streams])
        hashes, inside = _window_hashes(self._tokens, run_tokens, one.dataset.eot)
        self._starts = np.flatnonzero(inside)
        self._hashes = hashes[self._starts]
        self._hit = np.zeros(len(self._starts), bool)

    def mark(self, theirs: np.ndarray) -> None:
        """Notes the windows whose hash is among `theirs`, which is sorted."""
        if len(theirs):
            at = np.minimum(np.searchsorted(theirs, self._hashes), len(theirs) - 1)
            self._hit |= theirs[at] == self._hashes

    def take(self, train_key: str, max_examples: int) -> Runs:
        """Returns what was noted since the last call."""
        starts = self._starts[self._hit]
        self._hit[:] = False
        change = np.zeros(len(self._tokens) + 1, np.int64)
        change[starts] += 1
        np.subtract.at(change, starts + self._run_tokens, 1)
        covered = np.cumsum(change[:-1]) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], covered.view(np.int8), [0]])))
        spans = sorted(
            zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True),
            key=lambda span: span[0] - span[1],
        )
        vocabulary = tokenizer.get(self._component.dataset.tokenizer)
        return Runs(
            val_key=self._component.key,
            train_key=train_key,
            val_tokens=len(self._tokens),
            covered_tokens=int(covered.sum()),
            examples=tuple(vocabulary.decode(self._tokens[a:b]) for a, b in spans[:max_examples]),
        )


def _blocks(stream, overlap: int) -> Iterator[np.ndarray]:
    for start in range(0, len(stream), _BLOCK):
        yield stream[start : start + _BLOCK + overlap - 1]


def _window_hashes(tokens: np.ndarray, size: int, eot: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64 and bool [len - size + 1]: each window's hash, and whether it is inside a document."""
    count = len(tokens) - size + 1
    if count < 1:
        return np.zeros(0, np.uint64), np.zeros(0, bool)
    falling = np.full(len(tokens), _INVERSE, np.uint64)
    falling[0] = 1
    rising = np.full(count, _BASE, np.uint64)
    rising[0] = 1
    # Scrambled ids: small integers would make sums of few bits.
    ids = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    ids ^= ids >> np.uint64(29)
    sums = np.zeros(len(tokens) + 1, np.uint64)
    np.cumsum(ids * np.cumprod(falling), out=sums[1:])
    hashes = (sums[size:] - sums[:-size]) * np.cumprod(rising)
    ends = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum(tokens == eot, out=ends[1:])
    return hashes, ends[size:] == ends[:-size]
