"""Sampled letter n-grams: two texts that share a passage share one of these, whatever is around it.

A gram is so many letters in a row (letters.py), as GPT-4's authors compared texts (OpenAI 2023,
arXiv 2303.08774, appendix C: 50 characters without spaces and symbols). Of each WINDOW grams in a
row the one of the smallest hash is taken (winnowing: Schleimer, Wilkerson, Aiken, SIGMOD 2003):
every passage of `size + WINDOW - 1` letters has one, and about one in 20 is kept.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from data_pipeline.similarity import letters

# "A word" of an n-gram is four letters: 13 of them, the usual length, are 52 letters. German words
# have 6 on average, English ones 4.7: a gram of letters is the shorter, so it misses less.
WORD_LETTERS = 4
# 30 words of English or German have 91 letters or more in 19 of 20 cases.
WINDOW = 40
# Where a text is not as it was: of a second form only windows across one are new. No letter.
JOINT = "\x1f"
# Short texts are put together up to so many characters, and long ones cut, with an overlap that
# has more letters than a window spans.
_BATCH_CHARS = 1 << 18
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


class _Piece(NamedTuple):
    number: int  # of the text
    offset: int  # in it
    text: str
    is_second: bool


def sample(
    texts: Iterable[str], *, size: int, again: Callable[[str], str] | None = None
) -> Iterator[Grams]:
    """Yields the grams of `size` letters that are taken of the texts, in batches.

    A text of too few letters for a window gives all of its grams, one shorter than a gram none.
    `again` gives a text's second form, with a joint at each difference: its other grams follow
    under the same number, their places those in the second form.
    """
    batch: list[_Piece] = []
    chars = 0
    for piece in _pieces(texts, again):
        batch.append(piece)
        chars += len(piece.text)
        if chars >= _BATCH_CHARS:
            yield _sample(batch, size)
            batch, chars = [], 0
    if batch:
        yield _sample(batch, size)


def _pieces(texts: Iterable[str], again: Callable[[str], str] | None) -> Iterator[_Piece]:
    for number, text in enumerate(texts):
        second = again(text) if again else text
        for form in (text,) if second == text else (text, second):
            start = 0
            while True:
                yield _Piece(number, start, form[start : start + _PIECE_CHARS], form is not text)
                if start + _PIECE_CHARS >= len(form):
                    break
                start += _PIECE_CHARS - _OVERLAP_CHARS


def _sample(batch: list[_Piece], size: int) -> Grams:
    forms = [[one for one in batch if one.is_second == is_second] for is_second in (False, True)]
    both = [_of_forms(form, size) for form in forms if form]
    if len(both) == 1:
        return both[0]
    columns = (field.name for field in dataclasses.fields(Grams))
    return Grams(*(np.concatenate([getattr(one, name) for one in both]) for name in columns))


def _of_forms(batch: list[_Piece], size: int) -> Grams:
    """The grams of pieces that are all of first forms, or all of second ones."""
    joined = "".join(piece.text for piece in batch)
    found, places = letters.of(joined)
    char_ends = np.cumsum([len(piece.text) for piece in batch])
    stops = np.searchsorted(places, char_ends)
    starts = np.concatenate([[0], stops[:-1]])
    owners = np.arange(len(batch))  # of the spans of letters to look at, the pieces
    is_short = stops - starts < size + WINDOW - 1
    if batch[0].is_second:
        joints = _joints(joined)
        owners = np.searchsorted(char_ends, joints, side="right")
        starts, stops, owners = _around(
            np.searchsorted(places, joints), starts[owners], stops[owners], owners, size
        )
        taken = _ranges(starts, stops)
        found, places = found[taken], places[taken]
    ends = np.cumsum(stops - starts)  # of the spans, now one behind another
    at, hashes = _taken(found, ends, is_short[owners], size)
    spans = np.searchsorted(ends, at, side="right")
    pieces = owners[spans]
    numbers, offsets = (np.array(column, np.int64) for column in list(zip(*batch, strict=True))[:2])
    shift = offsets - np.concatenate([[0], char_ends[:-1]])
    return Grams(
        hashes=hashes,
        documents=numbers[pieces],
        starts=places[at] + shift[pieces],
        stops=places[at + size - 1] + 1 + shift[pieces],
        short=is_short[pieces],
    )


def _taken(
    found: np.ndarray, ends: np.ndarray, is_short: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """First letters (int64[N]) and hashes (uint64[N]) of the grams that are taken of spans."""
    taken, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    fits = np.zeros(0, bool)  # of short spans, which letters a gram begins with
    if is_short.any():
        counts = np.diff(ends, prepend=0)
        fits = np.repeat(is_short, counts)
        fits &= np.arange(len(found)) <= np.repeat(ends, counts) - size
    for start in range(0, len(found) - size + 1, _BLOCK):
        # Windows that start in the block; they end in the next one.
        stop = min(len(found), start + _BLOCK + WINDOW + size - 2)
        own = _hashes(found[start:stop], size)
        first, last = np.searchsorted(ends, [start, stop])
        chosen = _is_smallest(own, (ends[first:last] - start).tolist(), size)
        if len(fits):
            chosen |= fits[start : start + len(own)]
        at = np.flatnonzero(chosen)
        taken.append(at + start)
        hashes.append(own[at])
    # A gram behind a block's end may be chosen by both blocks.
    every, first = np.unique(np.concatenate(taken), return_index=True)
    return every, np.concatenate(hashes)[first]


def _joints(text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.flatnonzero(codes == ord(JOINT))


def _around(joints, starts, stops, owners, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64[N] starts, stops and owners of spans: what windows reach that have a joint inside.

    The joints are numbers of letters, and lie between the starts and stops of their owners.
    """
    reach = size + WINDOW - 2
    lows, highs = np.maximum(joints - reach, starts), np.minimum(joints + reach, stops)
    opens, closes = np.ones((2, len(joints)), bool)
    opens[1:] = lows[1:] >= highs[:-1]
    closes[:-1] = opens[1:]
    return lows[opens], highs[closes], owners[opens]


def _ranges(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """int64[sum(stops - starts)]: the numbers from each start to its stop."""
    counts = stops - starts
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _hashes(found: np.ndarray, size: int) -> np.ndarray:
    """uint64[len - size + 1]: each gram's hash, from the letters alone."""
    falling, rising = _powers(size)
    # Scrambled letters: small integers would make sums of few bits.
    values = (found + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(29)
    values *= falling[: len(found)]
    sums = np.zeros(len(found) + 1, np.uint64)
    np.cumsum(values, out=sums[1:])
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


def _is_smallest(hashes: np.ndarray, ends: list[int], size: int) -> np.ndarray:
    """bool[N]: whether a gram is the smallest of a window that is inside its text."""
    count = len(hashes) - WINDOW + 1
    if count < 1:
        return np.zeros(len(hashes), bool)
    # The upper half orders them: eight 32-bit numbers are compared at once.
    order = (hashes >> np.uint64(32)).astype(np.uint32)
    smallest = _over_window(order, np.minimum)
    # Windows that cross the end of a text count for nothing: 0 is the smallest maximum.
    for end in ends:
        smallest[max(0, end - size - WINDOW + 2) : end] = 0
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
