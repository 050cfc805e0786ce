"""Writing shards: documents in, .bin .idx .doc files and their manifest entries out.

Whoever publishes the directory makes the files durable.
"""

import array
import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_pipeline.tokens import shards, tokenizer

# Documents are short: a write for each would be most of the work of the disk.
_BUFFER_TOKENS = 1 << 20


class ShardWriter:
    """Appends documents to one split of one source; a shard ends where a document ends.

    A shard is closed before the document that would lift it above `tokens_per_shard`; only a
    document longer than that makes a larger one.
    """

    def __init__(
        self,
        root: Path,
        *,
        source: str,
        split: str,
        dtype: np.dtype,
        tokens_per_shard: int,
        first: int,
    ):
        self._root = root
        self._folder = f"{source}/{split}"
        self._dtype = dtype
        self._tokens_per_shard = tokens_per_shard
        self._number = first
        self.entries: list[dict] = []
        self.text_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._pending: list[np.ndarray] = []
        self._pending_tokens = 0
        self._tokens = 0
        self._max_id = -1
        # Arrays of the machine, not lists: a shard of short documents has millions of them.
        self._ends = array.array("Q")
        self._hashes = array.array("Q")

    def add(self, tokens: np.ndarray, *, doc_hash: int, text_bytes: int) -> None:
        """Adds one document, end-of-text included."""
        # An empty shard takes a document of any length: documents are never cut.
        if self._ends and self._tokens + len(tokens) > self._tokens_per_shard:
            self._close_shard()
        self._pending.append(tokens)
        self._pending_tokens += len(tokens)
        self._tokens += len(tokens)
        self._ends.append(self._tokens)
        self._hashes.append(doc_hash)
        self.text_bytes += text_bytes
        if self._pending_tokens >= _BUFFER_TOKENS:
            self._flush()

    def _stem(self) -> str:
        return f"{self._folder}/shard_{self._number:05d}"

    def _flush(self) -> BinaryIO:
        """Writes what is held; returns the shard's file, opened where it is not yet."""
        # Opened with the first block, so that a split without documents leaves no file.
        if self._file is None:
            (self._root / self._folder).mkdir(parents=True, exist_ok=True)
            self._file = open(self._root / f"{self._stem()}.bin", "wb")
        if not self._pending:
            return self._file
        block = np.concatenate(self._pending).astype(self._dtype, copy=False)
        # Kept in the manifest, where a vocabulary that is too small is found without reading.
        self._max_id = max(self._max_id, int(block.max()))
        # Hashed as it is written: nobody has to read the file again for its digest.
        self._digest.update(block.data)
        self._file.write(block.data)
        self._pending, self._pending_tokens = [], 0
        return self._file

    def _close_shard(self) -> None:
        self._flush().close()
        digests = {"bin": self._digest.hexdigest()}
        for suffix, table in (("idx", self._ends), ("doc", self._hashes)):
            # Little-endian on every machine, as the tokens are.
            content = np.array(table, np.uint64).astype("<u8").tobytes()
            digests[suffix] = hashlib.sha256(content).hexdigest()
            with open(self._root / f"{self._stem()}.{suffix}", "wb") as file:
                file.write(content)
        self.entries.append(
            {
                "file": self._stem(),
                "tokens": self._tokens,
                "documents": len(self._ends),
                "max_id": self._max_id,
                "sha256": digests,
            }
        )
        self._number += 1
        self._reset()

    def close(self) -> dict:
        """Ends the last shard; returns the split's manifest entry."""
        if self._ends:
            self._close_shard()
        return split_entry(self.entries, text_bytes=self.text_bytes)

    def abort(self) -> None:
        """Closes the open file; what was written is the caller's to remove."""
        if self._file is not None:
            self._file.close()


def split_entry(entries: list[dict], *, text_bytes: int) -> dict:
    """Returns a split's manifest entry: its sums and its shards."""
    return {
        "tokens": sum(entry["tokens"] for entry in entries),
        "documents": sum(entry["documents"] for entry in entries),
        "text_bytes": text_bytes,
        "shards": entries,
    }


def manifest_of(
    *, vocabulary: tokenizer.Tokenizer, sources: dict[str, dict], settings: list[dict]
) -> dict:
    """Returns a dataset's manifest; without times or absolute paths, so equal builds are equal."""
    every = [
        shard
        for entry in sources.values()
        for split in entry["splits"].values()
        for shard in split["shards"]
    ]
    return {
        "kind": "token_dataset",
        "schema": shards.SCHEMA,
        "storage": "shards",
        "dtype": vocabulary.dtype.name,
        "tokenizer": {
            "name": vocabulary.name,
            "sha256": vocabulary.sha256,
            "eot": vocabulary.eot,
            "vocab_size": vocabulary.vocab_size,
            # Only where documents begin with it: other manifests are as they always were.
            **({} if (bos := vocabulary.document_bos) is None else {"bos": bos}),
        },
        "max_id": max((shard["max_id"] for shard in every), default=-1),
        "sources": sources,
        "settings": settings,
    }
