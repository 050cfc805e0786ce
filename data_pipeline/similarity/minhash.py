"""MinHash signatures over 5-word shingles (Broder 1997), 14 bands of 8 rows.

Two texts of Jaccard similarity s share a band with probability 1 - (1 - s^8)^14: 0.74 at 0.75,
which is what 3 % of changed words leave. The same 112 minima are therefore banded a second time,
rows taken 14 apart, at no cost in hashing: measured on real text, 0.74 becomes 0.9.
A pair that shares a band is only a candidate: dedup.py verifies it by its true Jaccard similarity.
"""

import numpy as np
import xxhash

SHINGLE_WORDS = 5
BANDS = 14
ROWS = 8
KEYS = 2 * BANDS
# ASCII punctuation is dropped, not taken for a space: one changed word is one changed token.
_PUNCTUATION = bytes(byte for byte in range(33, 127) if not chr(byte).isalnum())
_BLOCK = 2048  # shingles per step: the matrix of a step stays in the CPU's cache
_CACHE_LIMIT = 1 << 18

_rng = np.random.Generator(np.random.PCG64(20240105))
# h(x) = a x + b mod 2^32 with odd a, a permutation; 32 bits, because processors multiply eight
# such numbers at once, and shingle hashes are well mixed already.
_MULTIPLY = _rng.integers(0, 1 << 32, size=BANDS * ROWS, dtype=np.uint32) | np.uint32(1)
_ADD = _rng.integers(0, 1 << 32, size=BANDS * ROWS, dtype=np.uint32)
_POSITION = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                      0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63], dtype=np.uint64)  # fmt: skip


def shingles(text: str) -> np.ndarray:
    """Returns the text's set of 5-word shingles as sorted unique uint32 hashes.

    Words are what white space separates, without case and ASCII punctuation; a text of fewer
    words is one shingle.
    """
    # On bytes and with one dictionary lookup per word: this loop is half of the whole cost.
    words = text.lower().encode("utf-8", "surrogatepass").translate(None, _PUNCTUATION).split()
    if not words:
        return np.zeros(0, np.uint32)
    hashes = np.fromiter(map(_word_hashes.__getitem__, words), np.uint64, len(words))
    if len(_word_hashes) > _CACHE_LIMIT:
        _word_hashes.clear()
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    total = np.zeros(count, np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(words))):
        # Position-dependent, so that the order of the words counts.
        total += hashes[offset : offset + count] * _POSITION[offset]
    total ^= total >> np.uint64(29)
    total *= np.uint64(0xBF58476D1CE4E5B9)
    return np.unique((total >> np.uint64(32)).astype(np.uint32))


class _WordHashes(dict):
    """word -> xxh3 of it; remembers the words that it was asked for."""

    def __missing__(self, word: bytes) -> int:
        found = self[word] = xxhash.xxh3_64_intdigest(word)
        return found


_word_hashes = _WordHashes()


def band_keys(shingle_set: np.ndarray) -> np.ndarray:
    """Returns KEYS uint64: texts with an equal one are candidates. Zeros for no shingles."""
    if not len(shingle_set):
        return np.zeros(KEYS, np.uint64)
    smallest = np.full(BANDS * ROWS, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(shingle_set), _BLOCK):
        block = shingle_set[start : start + _BLOCK, None] * _MULTIPLY + _ADD
        np.minimum(smallest, block.min(axis=0), out=smallest)
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
