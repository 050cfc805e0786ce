"""Reading datasets again: the bytes that a manifest vouches for, ids, document ends."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator

import numpy as np

from data_pipeline import digests, errors
from data_pipeline.tokens import array_record, mypt_format, shards, streams


@dataclasses.dataclass(frozen=True)
class Claim:
    """One SHA-256 of a manifest, what it is of, and how that is read."""

    name: str  # in the manifest
    paths: tuple[str, ...]
    nbytes: int
    sha256: str
    read: Callable[[], str]

    def check(self, found: str) -> None:
        """Raises UserError where `found` is another digest."""
        if found != self.sha256:
            one, *others = self.paths
            told = f"{self.name} in {os.path.dirname(one)}" if others else one
            raise errors.UserError(
                f"{told} was changed: its SHA-256 is {found[:12]}..., the manifest says "
                f"{self.sha256[:12]}...: restore it or build the dataset again"
            )


def claims(source: shards.Source, split: str) -> Iterator[Claim]:
    """What the manifest says of the bytes of one split: nothing for the original's directories."""
    start, records = 0, array_record.files(source.root, source.name, split, source.storage)
    for part in source.parts[split]:
        name = os.path.relpath(part.path, source.root)
        for suffix, wanted in part.sha256:
            is_tokens = suffix == "bin"
            nbytes = part.tokens * source.dtype.itemsize if is_tokens else part.documents * 8
            paths: tuple[str, ...] = (f"{part.path}.{suffix}",)
            read = functools.partial(digests.sha256, *paths)
            if is_tokens and source.storage != "shards":
                paths = records
                read = functools.partial(_digest_of_part, source, split, start, part)
            yield Claim(f"{name}.{suffix}", paths, nbytes, wanted, read)
        start += part.tokens


def verify(dataset: shards.Dataset) -> None:
    """Reads every file again; raises UserError at the first that differs from the manifest.

    Checks the SHA-256 of each file, that ids are below the vocabulary size, that each document end
    stands behind an end-of-text id, and each beginning before BOS where the manifest has one.
    """
    for source in dataset.sources.values():
        for split in source.tokens:
            for claim in claims(source, split):
                claim.check(claim.read())
            _verify_tokens(dataset, source, split)


def _digest_of_part(source: shards.Source, split: str, start: int, part: streams.Part) -> str:
    """The hash of a shard whose tokens are stored as records."""
    digest, block, stream = hashlib.sha256(), 1 << 20, source.stream(split)
    for at in range(start, start + part.tokens, block):
        tokens = stream[at : min(at + block, start + part.tokens)]
        digest.update(tokens.astype(source.dtype).tobytes())
    return digest.hexdigest()


def _verify_tokens(dataset: shards.Dataset, source: shards.Source, split: str) -> None:
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
    if dataset.bos is not None:
        for number, start in enumerate(previous[: len(ends)]):
            if stream[int(start)] != dataset.bos:
                raise errors.UserError(
                    f"{stream.name}: document {number} does not begin with BOS {dataset.bos} at "
                    f"token {start}: build the dataset again"
                )
    for number, end in enumerate(ends):
        if stream[int(end) - 1] != dataset.eot:
            raise errors.UserError(
                f"{stream.name}: document {number} does not end with end-of-text {dataset.eot} "
                f"at token {end - 1}: build the dataset again"
            )
