"""Tokenised documents on disk, bucketed by their place in the seeded order.

Memory stays bounded for any input: documents are appended to the bucket of their order key's
leading bits, and read back one bucket at a time, sorted.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipeline import hashing

_BUCKETS = 16
_BUFFER_BYTES = 64 << 20
ROW = np.dtype(
    [(name, "<u8") for name in ("order", "doc", "split", "offset", "tokens", "text_bytes")]
)


class Spill:
    """The documents of all sources of one build, until it has been decided which are taken."""

    def __init__(self, directory: Path, *, dtype: np.dtype, seed: int):
        self._directory = directory
        self._dtype = dtype
        self._seed = seed
        self._rows: dict[tuple[str, int], list[tuple]] = {}
        self._blocks: dict[tuple[str, int], list[np.ndarray]] = {}
        self._written: dict[tuple[str, int], int] = {}
        self._buffered_bytes = 0

    def add(
        self, source: str, *, doc_hash: int, split_hash: int, tokens: np.ndarray, text_bytes: int
    ) -> None:
        """Adds a document; equal ones are kept once when the bucket is read."""
        order = hashing.order_key(doc_hash, self._seed)
        key = (source, order >> 60)
        offset = self._written.get(key, 0)
        self._written[key] = offset + len(tokens)
        row = (order, doc_hash, split_hash, offset, len(tokens), text_bytes)
        self._rows.setdefault(key, []).append(row)
        self._blocks.setdefault(key, []).append(tokens)
        # A row costs some 300 bytes as Python objects, which counts for tiny documents.
        self._buffered_bytes += tokens.nbytes + 300
        if self._buffered_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes the buffers to their buckets."""
        for key, rows in self._rows.items():
            path = self._path(*key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(f"{path}.rows", "ab") as file:
                file.write(np.array(rows, ROW).tobytes())
            with open(f"{path}.bin", "ab") as file:
                file.write(np.concatenate(self._blocks[key]).astype(self._dtype).tobytes())
        self._rows, self._blocks, self._buffered_bytes = {}, {}, 0

    def _path(self, source: str, bucket: int) -> Path:
        return self._directory / source / f"{bucket:02d}"

    def rows(self, source: str) -> Iterator[tuple[int, np.ndarray, int]]:
        """Yields (bucket, its rows in order without duplicates, duplicates dropped)."""
        for bucket in range(_BUCKETS):
            path = f"{self._path(source, bucket)}.rows"
            if os.path.exists(path):
                rows = np.fromfile(path, ROW)
                rows = rows[np.lexsort((rows["split"], rows["doc"], rows["order"]))]
                first = np.ones(len(rows), bool)
                first[1:] = rows["doc"][1:] != rows["doc"][:-1]
                yield bucket, rows[first], int(len(rows) - first.sum())

    def tokens(self, source: str, bucket: int) -> np.ndarray:
        """Returns the mapped tokens of a bucket; a row's are [offset, offset + tokens)."""
        mapped = np.memmap(f"{self._path(source, bucket)}.bin", self._dtype, mode="r")
        return mapped.view(np.ndarray)
