"""Names of the readers, as registries use them, and how a file is opened for one."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import plain
from data_pipeline.readers.code_docs import godoc, javadoc
from data_pipeline.readers.manpage import man
from data_pipeline.readers.markup import html, markdown, rst
from data_pipeline.readers.publications import akoma_ntoso, cwe, rfc, stix
from data_pipeline.readers.records import jsonl, tsv
from data_pipeline.readers.wikipedia import mediawiki

# name -> read(stream, path=..., **options), yielding documents.
READERS: dict[str, Callable[..., Iterator[document.Document]]] = {
    "akn": akoma_ntoso.read,
    "cwe": cwe.read,
    "godoc": godoc.read,
    "html": html.read,
    "javadoc": javadoc.read,
    "jsonl": jsonl.read,
    "man": man.read,
    "markdown": markdown.read,
    "mediawiki": mediawiki.read,
    "moses": tsv.read_aligned,
    "plain": plain.read,
    "rest": rst.read,
    "rfc": rfc.read,
    "stix": stix.read_source,
    "tsv": tsv.read,
}
# Readers that see all files of a source together, and one that reads its files in pairs.
WHOLE_SOURCE = frozenset({"stix"})
PAIRED = frozenset({"moses"})
# Readers that leave out parts of a file, and tell of each.
TELLING = frozenset({"jsonl", "mediawiki", "moses", "tsv"})
# Readers that stream: their files may be of any size.
STREAMING = frozenset({"mediawiki", "tsv", "moses", "jsonl", "cwe"})
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)


def open_file(path: Path, *, reader: str, max_bytes: int) -> BinaryIO:
    """Opens a file, decompressed by its suffix; a bomb ends in the reader's own size limit.

    Raises ReadError for a symbolic link, or a file above `max_bytes` that no reader streams.
    """
    if path.is_symlink():
        raise document.ReadError("symlink", f"{path.name}: symbolic links are not followed")
    size = path.stat().st_size
    if size > max_bytes and reader not in STREAMING:
        raise document.ReadError("too_large", f"{path.name}: {size} bytes, limit {max_bytes}")
    # By path, so that closing the stream closes the file below it as well.
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".xz":
        return lzma.open(path)
    if path.suffix == ".bz2" and reader != "mediawiki":
        return bz2.open(path)
    return open(path, "rb")


def documents(
    reader: str,
    path: Path,
    *,
    name: str,
    max_bytes: int,
    options: dict,
    left_out: document.LeftOut = document.uncounted,
) -> Iterator[document.Document]:
    """Yields a file's documents; damaged compression becomes ReadError("truncated")."""
    if reader in TELLING:
        options = options | {"left_out": left_out}
    try:
        with open_file(path, reader=reader, max_bytes=max_bytes) as stream:
            yield from READERS[reader](stream, path=name, **options)
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
    left_out: document.LeftOut = document.uncounted,
) -> Iterator[document.Document]:
    """Yields the documents of two line-aligned files."""
    try:
        with (
            open_file(paths[0], reader="moses", max_bytes=max_bytes) as left,
            open_file(paths[1], reader="moses", max_bytes=max_bytes) as right,
        ):
            yield from tsv.read_aligned((left, right), path=name, left_out=left_out, **options)
    except _BROKEN as error:
        raise document.ReadError("truncated", f"{name}: {error}") from error


def source_documents(
    files: list[tuple[str, Path]], *, max_bytes: int, on_error
) -> Iterator[document.Document]:
    """Yields the documents of a source whose files are read together (STIX)."""

    def streams():
        for name, path in files:
            try:
                with open_file(path, reader="stix", max_bytes=max_bytes) as stream:
                    yield name, stream
            except document.ReadError as error:
                on_error(name, error)

    yield from stix.read_source(streams(), on_error=on_error)
