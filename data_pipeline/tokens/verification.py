"""Reading a whole dataset again: hashes, ids, document ends."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import mypt_format, streams

if TYPE_CHECKING:  # shards imports this module
    from data_pipeline.tokens import shards


def verify(dataset: "shards.Dataset") -> None:
    """shards.verify."""
    for source in dataset.sources.values():
        for split in source.tokens:
            start, stream = 0, source.stream(split)
            for part in source.parts[split]:
                for suffix, wanted in part.sha256:
                    if suffix == "bin" and source.storage != "shards":
                        _verify_part(stream, start, part, source.dtype, wanted)
                    else:
                        _verify_hash(f"{part.path}.{suffix}", wanted)
                start += part.tokens
            _verify_tokens(dataset, source, split)


def _verify_hash(path: str, wanted: str) -> None:
    with open(path, "rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != wanted:
        raise errors.UserError(
            f"{path} was changed: its SHA-256 is {got[:12]}..., the manifest says "
            f"{wanted[:12]}...: restore it or build the dataset again"
        )


def _verify_part(
    stream: streams.TokenStream, start: int, part: streams.Part, dtype: np.dtype, wanted: str
) -> None:
    """The hash of a shard whose tokens are stored as records."""
    digest, block = hashlib.sha256(), 1 << 20
    for at in range(start, start + part.tokens, block):
        tokens = stream[at : min(at + block, start + part.tokens)]
        digest.update(tokens.astype(dtype).tobytes())
    if digest.hexdigest() != wanted:
        raise errors.UserError(
            f"{stream.name}: the records from token {start} on were changed: export them again"
        )


def _verify_tokens(dataset: "shards.Dataset", source: "shards.Source", split: str) -> None:
    stream, block = source.stream(split), 1 << 20
    for start in range(0, len(stream), block):
        tokens = stream[start : start + block]
        bad = np.flatnonzero((tokens < 0) | (tokens >= dataset.vocab_size))
        if bad.size:
            raise errors.UserError(
                f"{stream.name}: id {tokens[bad[0]]} at token {start + bad[0]} is not below the "
                f"vocabulary's {dataset.vocab_size}: build the dataset again"
            )
    if source.storage == mypt_format.STORAGE:
        return
    ends = stream.doc_ends.astype(np.int64)
    previous = np.concatenate([[0], ends[:-1]])
    if (ends <= previous).any() or (ends.size and ends[-1] != len(stream)):
        raise errors.UserError(f"{stream.name}: its document ends do not rise to its length")
    for number, end in enumerate(ends):
        if stream[int(end) - 1] != dataset.eot:
            raise errors.UserError(
                f"{stream.name}: document {number} does not end with end-of-text {dataset.eot} "
                f"at token {end - 1}: build the dataset again"
            )
