"""MinHash signatures over 5-word shingles (Broder 1997), 14 bands of 8 rows.

Two texts of Jaccard similarity s share a band with probability 1 - (1 - s^8)^14: 0.74 at 0.75,
which is what 3 % of changed words leave. The same 112 minima are therefore banded a second time,
rows taken 14 apart, at no cost in hashing: measured on real text, 0.74 becomes 0.9.
A pair that shares a band is only a candidate: dedup.py verifies it by its true Jaccard similarity.
"""

import functools

import numpy as np
import xxhash

SHINGLE_WORDS = 5
BANDS = 14
ROWS = 8
KEYS = 2 * BANDS
# ASCII punctuation is dropped, not taken for a space: one changed word is one changed token.
_PUNCTUATION = bytes(byte for byte in range(33, 127) if not chr(byte).isalnum())
_SPACES = bytes.maketrans(b"\t\n\v\f\r", b"     ")
_BLOCK = 512  # shingles per step: the matrix of a step stays in the processor's cache
_BLOCK_BYTES = 1 << 15  # of text per step, likewise

_rng = np.random.Generator(np.random.PCG64(20240105))
# h(x) = a x + b mod 2^32 with odd a, a permutation; 32 bits, because processors multiply eight
# such numbers at once, and shingle hashes are well mixed already.
_MULTIPLY = _rng.integers(0, 1 << 32, size=BANDS * ROWS, dtype=np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, size=BANDS * ROWS, dtype=np.uint32)
_POSITION = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                      0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63], dtype=np.uint64)  # fmt: skip
# A word is the polynomial of its bytes at this number, odd so that it has an inverse mod 2^64: any
# word's value is a difference of two sums over the text before it.
_BASE = int(_rng.integers(1 << 62)) | 1
_INVERSE = pow(_BASE, -1, 1 << 64)


def shingles(text: str) -> np.ndarray:
    """Returns the text's set of 5-word shingles as sorted unique uint32 hashes.

    Words are what white space separates, without case and ASCII punctuation; a text of fewer
    words is one shingle.
    """
    hashes = _words(text.lower().encode("utf-8", "surrogatepass").translate(_SPACES, _PUNCTUATION))
    if not len(hashes):
        return np.zeros(0, np.uint32)
    count = max(1, len(hashes) - SHINGLE_WORDS + 1)
    total = np.zeros(count, np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(hashes))):
        # Position-dependent, so that the order of the words counts.
        total += hashes[offset : offset + count] * _POSITION[offset]
    _mix(total)
    found = (total >> np.uint64(32)).astype(np.uint32)
    # np.unique takes four times as long.
    found.sort()
    is_first = np.ones(count, bool)
    np.not_equal(found[1:], found[:-1], out=is_first[1:])
    return found[is_first]


def _words(content: bytes) -> np.ndarray:
    """uint64[N]: a hash of each word of a text whose white space is blanks."""
    found = [np.zeros(0, np.uint64)]
    start = 0
    while start < len(content):
        stop = content.find(b" ", start + _BLOCK_BYTES) + 1 or len(content)
        letters = np.frombuffer(content, np.uint8, stop - start, start)
        is_letter = np.zeros(len(letters) + 2, bool)
        np.not_equal(letters, ord(" "), out=is_letter[1:-1])
        borders = np.flatnonzero(is_letter[1:] != is_letter[:-1])
        starts, ends = borders[::2], borders[1::2]
        falling, rising = _powers(max(16, len(letters).bit_length()))
        sums = np.zeros(len(letters) + 1, np.uint64)
        np.cumsum(letters * falling[: len(letters)], out=sums[1:])
        found.append((sums[ends] - sums[starts]) * rising[starts])
        start = stop
    hashes = np.concatenate(found)
    _mix(hashes)
    return hashes


def _mix(hashes: np.ndarray) -> None:
    """Scrambles uint64[N] in place: every bit comes to depend on every other."""
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(29)


@functools.lru_cache(maxsize=2)
def _powers(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Falling and rising powers of the base, 2^bits of them."""
    falling, rising = (np.full(1 << bits, base, np.uint64) for base in (_INVERSE, _BASE))
    falling[0] = rising[0] = 1
    return np.cumprod(falling), np.cumprod(rising)


def band_keys(shingle_set: np.ndarray) -> np.ndarray:
    """Returns KEYS uint64: texts with an equal one are candidates. Zeros for no shingles."""
    if not len(shingle_set):
        return np.zeros(KEYS, np.uint64)
    smallest = np.full(BANDS * ROWS, np.iinfo(np.uint32).max, np.uint32)
    room = np.empty((_BLOCK, BANDS * ROWS), np.uint32)
    for start in range(0, len(shingle_set), _BLOCK):
        block = shingle_set[start : start + _BLOCK, None]
        hashes = np.multiply(block, _MULTIPLY, out=room[: len(block)])
        hashes += _ADD
        np.minimum(smallest, hashes.min(axis=0), out=smallest)
    bands = [*smallest.reshape(BANDS, ROWS), *smallest.reshape(ROWS, BANDS).T]
    return np.array(
        [xxhash.xxh3_64_intdigest(band.tobytes(), seed=n) for n, band in enumerate(bands)],
        np.uint64,
    )


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Jaccard similarity of two sorted unique shingle sets; 0 if either is empty."""
    if not len(left) or not len(right):
        return 0.0
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)
