"""The one table of readers: their names, as registries use them, and how they open a file."""

import bz2
import dataclasses
import gzip
import inspect
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import plain
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.code_docs import godoc, javadoc
from data_pipeline.readers.includes import NOTHING, Includes
from data_pipeline.readers.manpage import man
from data_pipeline.readers.markup import html, markdown, rst
from data_pipeline.readers.publications import akoma_ntoso, cwe, rfc, stix
from data_pipeline.readers.records import jsonl, tsv
from data_pipeline.readers.wikipedia import mediawiki


@dataclasses.dataclass(frozen=True)
class Reader:
    """One format: read(stream, path=..., account=..., **options) yields documents.

    `takes` is what read is given: a "file", a "pair" of streams, or the (path, stream) of all files
    of a "source". Files of a reader that `streams` may be of any size.
    """

    read: Callable[..., Iterator[document.Document]]
    takes: str = "file"
    streams: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that a registry may set."""
        return tuple(name for name in self._parameters if name not in _OWN)

    @property
    def includes(self) -> bool:
        """Whether its files may take in others."""
        return "includes" in self._parameters

    @property
    def _parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.read).parameters)[1:]


_OWN = frozenset(("path", "account", "includes", "on_error"))
READERS: dict[str, Reader] = {
    "akn": Reader(akoma_ntoso.read),
    "cwe": Reader(cwe.read, streams=True),
    "godoc": Reader(godoc.read),
    "html": Reader(html.read),
    "javadoc": Reader(javadoc.read),
    "jsonl": Reader(jsonl.read, streams=True),
    "man": Reader(man.read),
    "markdown": Reader(markdown.read),
    "mediawiki": Reader(mediawiki.read, streams=True),
    "moses": Reader(tsv.read_aligned, takes="pair", streams=True),
    "plain": Reader(plain.read),
    "rest": Reader(rst.read),
    "rfc": Reader(rfc.read),
    "stix": Reader(stix.read_source, takes="source"),
    "tsv": Reader(tsv.read, streams=True),
}
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)


def open_file(path: Path, *, reader: str, max_bytes: int) -> BinaryIO:
    """Opens a file, decompressed by its suffix; a bomb ends in the reader's own size limit.

    Raises ReadError for a symbolic link, or a file above `max_bytes` that no reader streams.
    """
    if path.is_symlink():
        raise document.ReadError("symlink", f"{path.name}: symbolic links are not followed")
    size = path.stat().st_size
    if size > max_bytes and not READERS[reader].streams:
        raise document.ReadError("too_large", f"{path.name}: {size} bytes, limit {max_bytes}")
    # By path, so that closing the stream closes the file below it as well.
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path)
    if suffix == ".xz":
        return lzma.open(path)
    if suffix == ".bz2" and reader != "mediawiki":
        return bz2.open(path)
    return open(path, "rb")


def documents(
    reader: str,
    path: Path,
    *,
    name: str,
    max_bytes: int,
    options: dict,
    includes: Includes = NOTHING,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields a file's documents, code marked; damaged compression raises ReadError("truncated")."""
    if READERS[reader].includes:
        options = options | {"includes": includes}
    try:
        with open_file(path, reader=reader, max_bytes=max_bytes) as stream:
            yield from READERS[reader].read(stream, path=name, account=account, **options)
    except _BROKEN as error:
        raise document.ReadError("truncated", f"{name}: {error}") from error
    except RecursionError as error:
        raise document.ReadError("too_deep", f"{name}: nested too deeply") from error


def aligned_documents(
    paths: tuple[Path, Path],
    *,
    name: str,
    max_bytes: int,
    options: dict,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the documents of two line-aligned files."""
    try:
        with (
            open_file(paths[0], reader="moses", max_bytes=max_bytes) as left,
            open_file(paths[1], reader="moses", max_bytes=max_bytes) as right,
        ):
            yield from tsv.read_aligned((left, right), path=name, account=account, **options)
    except _BROKEN as error:
        raise document.ReadError("truncated", f"{name}: {error}") from error


def source_documents(
    files: list[tuple[str, Path]],
    *,
    max_bytes: int,
    on_error,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the documents of a source whose files are read together (STIX)."""

    def streams():
        for name, path in files:
            try:
                with open_file(path, reader="stix", max_bytes=max_bytes) as stream:
                    yield name, stream
            except document.ReadError as error:
                on_error(name, error)

    yield from stix.read_source(streams(), on_error=on_error, account=account)
