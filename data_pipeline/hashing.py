"""64-bit hashes of documents: who a document is, which side it is on, and where it stands."""

import hashlib

import numpy as np

_MASK = (1 << 64) - 1


def bytes_hash(content: bytes) -> int:
    """Returns the hash by which equal texts (as UTF-8) are recognised, in any dataset."""
    return _digest(content, b"document")


def text_hash(text: str) -> int:
    """bytes_hash of a text; lone surrogates, which UTF-8 cannot hold, count as three bytes each."""
    return bytes_hash(text.encode("utf-8", "surrogatepass"))


def split_hash(key: str) -> int:
    """Returns where in 0..2^64-1 a split key falls; val is everything below its fraction.

    No seed enters, so a document is on the same side in every dataset of the same fraction.
    """
    return _digest(key.encode("utf-8", "surrogatepass"), b"split")


def _digest(content: bytes, person: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8, person=person).digest()
    return int.from_bytes(digest, "little")


def order_key(doc_hash: int, seed: int) -> int:
    """Returns the place of a document in the seeded order: SplitMix64 of its hash and the seed."""
    x = (doc_hash + (seed + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def order_keys(doc_hashes: np.ndarray, seed: int) -> np.ndarray:
    """order_key for uint64[N]."""
    x = doc_hashes + np.uint64(((seed + 1) * 0x9E3779B97F4A7C15) & _MASK)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def contains(known: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """bool[N]: which of uint64[N] `hashes` are among the sorted `known`."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    at = np.searchsorted(known, hashes)
    return known[np.minimum(at, len(known) - 1)] == hashes
