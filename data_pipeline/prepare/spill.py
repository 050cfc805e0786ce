"""Tokenised documents on disk, bucketed by their place in the seeded order.

Memory stays bounded for any input: documents are appended to the bucket of their order key's
leading bits, and read back one bucket at a time, sorted.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipeline import hashing
from data_pipeline.prepare import tokenise

# Of each bucket the table of documents is held, and its tokens are mapped: 2 GB of text are some
# 20 MB of tokens here.
_BUCKET_BITS = 6
_BUFFER_BYTES = 16 << 20  # little, so that writing goes on while other processes tokenise
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
        self.duplicates: dict[str, int] = {}  # by source, dropped; known when sorted

    def add(self, batch: tokenise.Encoded) -> None:
        """Adds a batch of documents; equal ones are kept once by `sort`."""
        order = hashing.order_keys(batch.table["doc"], self._seed)
        buckets = (order >> np.uint64(64 - _BUCKET_BITS)).tolist()
        rows = zip(batch.sources, buckets, order.tolist(), batch.table.tolist(), strict=True)
        start = 0
        for source, bucket, place, (doc, split, tokens, text_bytes) in rows:
            key = (source, bucket)
            offset = self._written.get(key, 0)
            self._written[key] = offset + tokens
            row = (place, doc, split, offset, tokens, text_bytes)
            self._rows.setdefault(key, []).append(row)
            self._blocks.setdefault(key, []).append(batch.tokens[start : start + tokens])
            start += tokens
        # A row costs some 400 bytes as Python objects, which counts for tiny documents.
        self._buffered_bytes += batch.tokens.nbytes + 400 * len(buckets)
        if self._buffered_bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        for key, rows in self._rows.items():
            path = self._path(*key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(f"{path}.rows", "ab") as file:
                file.write(np.array(rows, ROW).tobytes())
            with open(f"{path}.bin", "ab") as file:
                for block in self._blocks[key]:
                    file.write(block.data)
        self._rows, self._blocks, self._buffered_bytes = {}, {}, 0

    def _path(self, source: str, bucket: int) -> Path:
        return self._directory / source / f"{bucket:02d}"

    def sort(self) -> None:
        """Ends the adding: every bucket's table in order, each document once."""
        self._flush()
        for source, bucket in self._written:
            path = f"{self._path(source, bucket)}.rows"
            rows: np.ndarray = np.fromfile(path, ROW)
            rows = rows[np.lexsort((rows["split"], rows["doc"], rows["order"]))]
            first = np.ones(len(rows), bool)
            first[1:] = rows["doc"][1:] != rows["doc"][:-1]
            self.duplicates[source] = self.duplicates.get(source, 0) + int((~first).sum())
            with open(path, "wb") as file:
                file.write(rows[first].tobytes())

    def rows(self, source: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (bucket, its rows in order) of a source."""
        for bucket in range(1 << _BUCKET_BITS):
            if (source, bucket) in self._written:
                yield bucket, np.fromfile(f"{self._path(source, bucket)}.rows", ROW)

    def tokens(self, source: str, bucket: int) -> np.ndarray:
        """Returns the mapped tokens of a bucket; a row's are [offset, offset + tokens)."""
        mapped = np.memmap(f"{self._path(source, bucket)}.bin", self._dtype, mode="r")
        return mapped.view(np.ndarray)
