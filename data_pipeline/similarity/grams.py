"""Sampled letter n-grams: two texts that share a passage share one of these, whatever is around it.

A gram is so many letters in a row (letters.py), as GPT-4's authors compared texts (OpenAI 2023,
arXiv 2303.08774, appendix C: 50 characters without spaces and symbols). Of each WINDOW grams in a
row the one of the smallest hash is taken (winnowing: Schleimer, Wilkerson, Aiken, SIGMOD 2003):
every passage of `size + WINDOW - 1` letters has one, and about one in 20 is kept.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np

from data_pipeline.similarity import letters

# "A word" of an n-gram is four letters: 13 of them, the usual length, are 52 letters. German words
# have 6 on average, English ones 4.7: a gram of letters is the shorter, so it misses less.
WORD_LETTERS = 4
# 30 words of English or German have 91 letters or more in 19 of 20 cases.
WINDOW = 40
# Short texts are put together up to so many characters, and long ones cut, with an overlap that
# has more letters than a window spans.
_BATCH_CHARS = 1 << 16
_PIECE_CHARS = 1 << 20
_OVERLAP_CHARS = 1 << 12
_BLOCK = 1 << 15  # letters per step: its arrays stay in the processor's cache

_rng = np.random.Generator(np.random.PCG64(20230315))
# Odd, so that it has an inverse modulo 2^64: a gram's hash is a difference of two prefix sums.
_BASE = int(_rng.integers(1 << 62)) | 1
_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclasses.dataclass(frozen=True)
class Grams:
    """The grams taken of some texts, by text and place; a gram may come twice in a text."""

    hashes: np.ndarray  # uint64[N]
    documents: np.ndarray  # int64[N]: number of the text, from 0
    starts: np.ndarray  # int64[N]: its first character in the text
    stops: np.ndarray  # int64[N]: behind its last one
    short: np.ndarray  # bool[N]: the text has too few letters for a window and gave all its grams


def sample(texts: Iterable[str], *, size: int) -> Iterator[Grams]:
    """Yields the grams of `size` letters that are taken of the texts, in batches.

    A text of too few letters for a window gives all of its grams, one shorter than a gram none.
    """
    batch: list[tuple[int, int, str]] = []
    chars = 0
    for piece in _pieces(texts):
        batch.append(piece)
        chars += len(piece[2])
        if chars >= _BATCH_CHARS:
            yield _sample(batch, size)
            batch, chars = [], 0
    if batch:
        yield _sample(batch, size)


def _pieces(texts: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Number and offset of a piece of a text, and the piece."""
    for number, text in enumerate(texts):
        start = 0
        while True:
            yield number, start, text[start : start + _PIECE_CHARS]
            if start + _PIECE_CHARS >= len(text):
                break
            start += _PIECE_CHARS - _OVERLAP_CHARS


def _sample(batch: list[tuple[int, int, str]], size: int) -> Grams:
    found, places = letters.of("".join(text for _, _, text in batch))
    char_ends = np.cumsum([len(text) for _, _, text in batch])
    # ends[i]: behind the last letter of the piece that letter i is of.
    piece_ends = np.searchsorted(places, char_ends)
    counts = np.diff(piece_ends, prepend=0)
    ends = np.repeat(piece_ends, counts)
    short = np.repeat(counts < size + WINDOW - 1, counts)
    taken, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for start in range(0, len(found) - size + 1, _BLOCK):
        # Windows that start in the block; they end in the next one.
        stop = min(len(found), start + _BLOCK + WINDOW + size - 2)
        own = _hashes(found[start:stop], size)
        fits = np.arange(start + size, start + size + len(own)) <= ends[start : start + len(own)]
        chosen = np.flatnonzero(
            _is_smallest(own, ends[start : start + len(own)] - start, size)
            | (short[start : start + len(own)] & fits)
        )
        taken.append(chosen + start)
        hashes.append(own[chosen])
    # A gram behind a block's end may be chosen by both blocks.
    at, first = np.unique(np.concatenate(taken), return_index=True)
    pieces = np.searchsorted(piece_ends, at, side="right")
    numbers, offsets = (np.array(column, np.int64) for column in list(zip(*batch, strict=True))[:2])
    shift = offsets - np.concatenate([[0], char_ends[:-1]])
    return Grams(
        hashes=np.concatenate(hashes)[first],
        documents=numbers[pieces],
        starts=places[at] + shift[pieces],
        stops=places[at + size - 1] + 1 + shift[pieces],
        short=short[at],
    )


def _hashes(found: np.ndarray, size: int) -> np.ndarray:
    """uint64[len - size + 1]: each gram's hash, from the letters alone."""
    falling, rising = _powers(size)
    # Scrambled letters: small integers would make sums of few bits.
    values = (found + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(29)
    sums = np.zeros(len(found) + 1, np.uint64)
    np.cumsum(values * falling[: len(found)], out=sums[1:])
    hashes = sums[size:] - sums[:-size]
    hashes *= rising[: len(hashes)]
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(29)
    return hashes


@functools.cache
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Falling and rising powers of the base, for a block and what its windows reach beyond it."""
    falling, rising = (
        np.full(_BLOCK + WINDOW + size, base, np.uint64) for base in (_INVERSE, _BASE)
    )
    falling[0] = rising[0] = 1
    return np.cumprod(falling), np.cumprod(rising)


def _is_smallest(hashes: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    """bool[N]: whether a gram is the smallest of a window that is inside its text."""
    count = len(hashes) - WINDOW + 1
    if count < 1:
        return np.zeros(len(hashes), bool)
    # The upper half orders them: eight 32-bit numbers are compared at once.
    order = (hashes >> np.uint64(32)).astype(np.uint32)
    smallest = _over_window(order, np.minimum)
    # Windows that cross the end of a text count for nothing: 0 is the smallest maximum.
    smallest[np.arange(size + WINDOW - 1, size + WINDOW - 1 + count) > ends[:count]] = 0
    around = np.zeros(WINDOW - 1, np.uint32)
    # No window's minimum is above one of its grams, so the greatest of them tells.
    return _over_window(np.concatenate([around, smallest, around]), np.maximum) == order


def _over_window(values: np.ndarray, greater_or_less: np.ufunc) -> np.ndarray:
    """The minimum or maximum of each WINDOW values in a row, by doubling spans."""
    span = 1
    while 2 * span <= WINDOW:
        values = greater_or_less(values[:-span], values[span:])
        span *= 2
    rest = WINDOW - span
    return greater_or_less(values[: len(values) - rest], values[rest:])
