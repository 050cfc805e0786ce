"""One source's split as one stream of token ids, whatever stores it.

A stream is a random access data source in grain's sense (`len`, `[i]`, stable `repr`, picklable)
that also takes slices. Back ends: flat shard files here, ArrayRecord and TFDS in `array_record`.
"""

import bisect
import dataclasses
import itertools
import os
import resource
import threading
import weakref

import numpy as np

from data_pipeline import errors

# Each mapped shard holds one file descriptor: half of what a process may have is for them.
_SOFT_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_OPEN_SHARDS = 4096 if _SOFT_LIMIT == resource.RLIM_INFINITY else min(_SOFT_LIMIT // 2, 4096)
_OPEN_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Part:
    """One shard: its files and what the manifest says of them."""

    path: str  # without suffix: .bin tokens, .idx document ends, .doc document hashes
    tokens: int
    documents: int
    sha256: tuple[tuple[str, str], ...] = ()  # (suffix, hex digest)
    max_id: int = -1  # -1: not known


class TokenStream:
    """Token ids 0..len-1 of one split; `stream[a:b]` is int32[b - a], `stream[i]` one id.

    Attributes: name, parts. `doc_ends` and `doc_hashes` are read when first asked for.
    """

    def __init__(self, *, name: str, parts: tuple[Part, ...]):
        self.name = name
        self.parts = parts
        self._starts = [0, *itertools.accumulate(part.tokens for part in parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, tokens={len(self)})"

    def __getitem__(self, key):
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise errors.UserError(f"{self.name}: a token stream has no strided slices")
            return self.read(start, max(start, stop))
        return int(self.read(key, key + 1)[0])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns int32[stop - start]; crosses shards where it must."""
        first = bisect.bisect_right(self._starts, start) - 1
        if 0 <= start and stop <= self._starts[min(first + 1, len(self.parts))]:
            if stop == start:
                return np.zeros(0, np.int32)
            base = self._starts[first]
            return self._read_part(first, start - base, stop - base)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self!r}: tokens {start}..{stop}")
        pieces = []
        while start < stop:
            base, end = self._starts[first], self._starts[first + 1]
            pieces.append(self._read_part(first, start - base, min(stop, end) - base))
            start, first = end, first + 1
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def _read_part(self, index: int, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError

    @property
    def doc_ends(self) -> np.ndarray:
        """uint64[documents]: where each document ends in the stream, its end-of-text included."""
        ends = [np.zeros(0, np.uint64)]
        for base, part in zip(self._starts, self.parts, strict=False):
            of_part = self._read_ends(part)
            _check_ends(of_part, part)
            ends.append(of_part + np.uint64(base))
        return np.concatenate(ends)

    def _read_ends(self, part: Part) -> np.ndarray:
        return read_table(part.path + ".idx", part.documents)

    @property
    def doc_hashes(self) -> np.ndarray:
        """uint64[documents]: the content hash of each document."""
        hashes = [read_table(part.path + ".doc", part.documents) for part in self.parts]
        return np.concatenate([np.zeros(0, np.uint64), *hashes])


class ShardStream(TokenStream):
    """Flat little-endian files, memory mapped; ids above `id_limit` are refused when given."""

    def __init__(
        self,
        *,
        name: str,
        parts: tuple[Part, ...],
        dtype: np.dtype,
        id_limit: int | None = None,
        has_documents: bool = True,
    ):
        super().__init__(name=name, parts=parts)
        self._dtype = dtype
        self._id_limit = id_limit
        self._has_documents = has_documents
        self._maps: dict[int, np.ndarray] = {}

    def __getstate__(self):
        return self.__dict__ | {"_maps": {}}

    def _read_part(self, index: int, start: int, stop: int) -> np.ndarray:
        shard = self._maps.get(index)
        if shard is None:
            shard = self._open(index)
        tokens = shard[start:stop].astype(np.int32)
        limit = self._id_limit
        if limit is not None and tokens.size and not _in_range(tokens, limit):
            bad = int(np.flatnonzero((tokens < 0) | (tokens >= limit))[0])
            raise errors.UserError(
                f"{self.parts[index].path}.bin, token {start + bad}: id {tokens[bad]} is not below "
                f"the vocabulary's {limit}: the file is damaged or of another tokenizer"
            )
        return tokens

    def _open(self, index: int) -> np.ndarray:
        part = self.parts[index]
        try:
            mapped = np.memmap(part.path + ".bin", self._dtype, mode="r", shape=(part.tokens,))
        except (OSError, ValueError) as error:
            raise errors.UserError(f"{part.path}.bin cannot be read: {error}") from None
        # A plain view: memmap's own slicing is several times slower.
        shard = mapped.view(np.ndarray)
        with _OPEN_LOCK:
            if sum(len(stream._maps) for stream in _OPEN_STREAMS) >= _OPEN_SHARDS:
                # All are dropped at once: another thread keeps the dict that it holds.
                for stream in _OPEN_STREAMS:
                    stream._maps = {}
            self._maps[index] = shard
            _OPEN_STREAMS.add(self)
        return shard

    def _read_ends(self, part: Part) -> np.ndarray:
        if self._has_documents:
            return super()._read_ends(part)
        return np.array([part.tokens], np.uint64)  # the original keeps no document ends

    @property
    def doc_hashes(self) -> np.ndarray:
        return super().doc_hashes if self._has_documents else np.zeros(0, np.uint64)


# Those that may hold a map, which keeps a file open: a dataset may have thousands of sources.
_OPEN_STREAMS: weakref.WeakSet[ShardStream] = weakref.WeakSet()


def read_table(path: str, rows: int) -> np.ndarray:
    """Returns uint64[rows] of a .idx or .doc file; raises UserError when it is not that long."""
    check_size(path, rows * 8)
    return np.fromfile(path, "<u8").astype(np.uint64, copy=False)


def _check_ends(ends: np.ndarray, part: Part) -> None:
    """Raises UserError where these are not the ends of documents, one after another, of a shard."""
    if ends.size and (ends[0] == 0 or np.any(ends[1:] <= ends[:-1]) or ends[-1] != part.tokens):
        raise errors.UserError(
            f"{part.path}.idx does not say where the documents of {part.tokens:,} tokens end: it "
            "is damaged; restore it or build the dataset again"
        )


def check_size(path: str, wanted_bytes: int) -> None:
    """Raises UserError, naming the file, unless it exists with exactly this size."""
    try:
        got = os.stat(path).st_size
    except OSError as error:
        raise errors.UserError(
            f"{path} is missing ({error.strerror}): restore it or build the dataset again"
        ) from None
    if got != wanted_bytes:
        raise errors.UserError(
            f"{path} has {got} bytes, its manifest says {wanted_bytes}: it is truncated or from "
            f"another build (first difference at byte {min(got, wanted_bytes)}): restore it or "
            "build the dataset again"
        )


def _in_range(tokens: np.ndarray, limit: int) -> bool:
    return 0 <= int(tokens.min()) and int(tokens.max()) < limit
