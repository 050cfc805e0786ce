"""The one table of readers: how a kind of file is read, for every command.

A registry names a reader; a file that nobody names one for is read by its suffix.
"""

import codecs
import contextlib
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from data_pipeline import document, errors
from data_pipeline.readers import compression, languages
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.includes import NOTHING, Includes


@dataclasses.dataclass(frozen=True)
class Reader:
    """One format, and the module that reads it; `names` are of whole files, in lower case.

    `takes` is what it is given: a "file", a "pair" of streams, or the (path, stream) of all files
    of a "source". Files of a reader that `streams` may be of any size. One that `converts` marks
    code (marks.py); the others give text as it stands in the file.
    """

    module: str
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    takes: str = "file"
    streams: bool = False
    converts: bool = True
    function: str = "read"

    @property
    def read(self) -> Callable[..., Iterator[document.Document]]:
        """read(stream, path=..., account=..., **options), imported when it is first asked for.

        Raises UserError where a package that it needs is not installed.
        """
        return _imported(self.module, self.function)

    @property
    def options(self) -> dict[str, Any]:
        """The options that a registry may set, with their defaults."""
        found = inspect.signature(self.read).parameters
        return {name: found[name].default for name in self._parameters if name not in _OWN}

    @property
    def includes(self) -> bool:
        """Whether its files may take in others."""
        return "includes" in self._parameters

    @property
    def records(self) -> bool:
        """Whether its files hold records, of which a bad one can be left out."""
        return "on_bad" in self._parameters

    @property
    def _parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.read).parameters)[1:]


@functools.cache
def _imported(module: str, function: str) -> Callable:
    with errors.needs("corpora"):
        return getattr(importlib.import_module(f"data_pipeline.readers.{module}"), function)


# ls.1, printf.3p: a man page by its name, if its first lines are such.
_SECTION = re.compile(r"\A\.[1-9][a-z]{0,4}\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ROFF = re.compile(rb"^(?:[.']\s*(?:TH|Dd|so)\s|\.\\\"|'\\\")", re.MULTILINE)
# Enough for a shebang and the comments above .TH; the file is not read for it.
_HEAD_BYTES = 1 << 12
# What the table gives a reader itself, so that no registry may set it.
_OWN = frozenset(("path", "account", "includes", "on_bad", "on_error"))
READERS: dict[str, Reader] = {
    # Without a suffix: .xml is any of several formats, and a registry says which.
    "akn": Reader("publications.akoma_ntoso"),
    "arrow": Reader(
        "records.columns",
        (".arrow", ".feather"),
        streams=True,
        converts=False,
        function="read_arrow",
    ),
    "code": Reader(
        "source_code", tuple(languages.BY_SUFFIX), tuple(languages.BY_NAME), converts=False
    ),
    "csv": Reader("records.csv_table", (".csv",), streams=True, converts=False),
    "cwe": Reader("publications.cwe", streams=True),
    "docx": Reader("office.word", (".docx",), streams=True),
    "epub": Reader("office.epub", (".epub",), streams=True),
    "godoc": Reader("code_docs.godoc"),
    "html": Reader("markup.html", (".html", ".htm", ".xhtml")),
    "javadoc": Reader("code_docs.javadoc"),
    "json": Reader("records.json_file", (".json",), streams=True, converts=False),
    "jsonl": Reader("records.jsonl", (".jsonl", ".ndjson"), streams=True, converts=False),
    "mail": Reader("mail", (".eml",)),
    "mailbox": Reader("mail", (".mbox",), streams=True, function="read_mailbox"),
    "man": Reader("manpage.man", (".man", ".mdoc")),
    "markdown": Reader("markup.markdown", (".md", ".markdown", ".mdx", ".rmd", ".qmd")),
    "mediawiki": Reader("wikipedia.mediawiki", streams=True),
    "moses": Reader(
        "records.tsv", takes="pair", streams=True, converts=False, function="read_aligned"
    ),
    "notebook": Reader("notebook", (".ipynb",)),
    "parquet": Reader("records.columns", (".parquet",), streams=True, converts=False),
    "pdf": Reader("office.pdf", (".pdf",), streams=True, converts=False),
    "plain": Reader(
        "plain",
        (".txt", ".text", ".log", ".org", ".adoc", ".asciidoc"),
        streams=True,
        converts=False,
    ),
    "pod": Reader("code_docs.pod", (".pod",)),
    "pptx": Reader("office.slides", (".pptx",), streams=True, converts=False),
    "rest": Reader("markup.rst", (".rst",)),
    "rfc": Reader("publications.rfc"),
    # A .tsv of somebody's own is a table of rows; "tsv" is parallel text, a sentence in each field.
    "rows": Reader("records.rows", (".tsv",), streams=True, converts=False),
    "stix": Reader("publications.stix", takes="source", function="read_source"),
    "tsv": Reader("records.tsv", streams=True, converts=False),
}
BY_SUFFIX = {suffix: name for name, each in READERS.items() for suffix in each.suffixes}
BY_NAME = {found: name for name, each in READERS.items() for found in each.names}


def named_for(path: str) -> str | None:
    """Returns the name of the reader for a file by its name, less the suffix of its compression."""
    # NAMES of systems without case: README.TXT, MAKEFILE.
    name = Path(compression.stripped(path)).name.lower()
    return BY_NAME.get(name) or BY_SUFFIX.get(Path(name).suffix)


def reader_of(path: Path) -> str | None:
    """Returns the name of the reader for a file: by its name, else by its first bytes.

    These tell a man page (ls.1, where access.log.1 is none), a script, and text without a suffix.
    """
    found = named_for(path.name)
    name = Path(compression.stripped(path.name))
    is_section = _SECTION.search(name.suffix) is not None
    if found is not None or (name.suffix and not is_section):
        return found
    head = _head(path)
    if is_section:
        return "man" if _ROFF.search(head) else None
    if head.startswith(b"#!"):
        return "code"
    return "plain" if _is_text(head) else None


def _head(path: Path) -> bytes:
    """The first bytes of a file, decompressed; none of one that cannot be read."""
    try:
        with compression.opened(path, name=path.name) as stream:
            return stream.read(_HEAD_BYTES)
    except document.ReadError:
        return b""


def _is_text(head: bytes) -> bool:
    """Whether bytes begin a text: UTF-8, cut off anywhere, without control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and not _CONTROL.search(text)


@contextlib.contextmanager
def open_file(
    path: Path, *, reader: str, name: str, max_bytes: int, follow_links: bool = False
) -> Iterator[BinaryIO]:
    """Opens a file, decompressed by its suffix; a bomb ends in the reader's own size limit.

    Raises ReadError for a symbolic link, or a file above `max_bytes` that no reader streams.
    """
    if path.is_symlink() and not follow_links:
        raise document.ReadError("symlink", f"{name}: symbolic links are not followed")
    with compression.opened(path, name=name) as stream:
        size = path.stat().st_size
        if size > max_bytes and not READERS[reader].streams:
            raise document.ReadError("too_large", f"{name}: {size} bytes, limit {max_bytes}")
        yield stream


def documents(
    reader: str,
    path: Path,
    *,
    name: str,
    max_bytes: int,
    options: dict,
    follow_links: bool = False,
    includes: Includes = NOTHING,
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields a file's documents, code marked; damaged compression raises ReadError("truncated").

    `on_bad` gets the error of each bad record of a file of records, of which the others are read.
    """
    if READERS[reader].includes:
        options = options | {"includes": includes}
    if READERS[reader].records:
        options = options | {"on_bad": on_bad}
    limits = {"max_bytes": max_bytes, "follow_links": follow_links}
    try:
        with open_file(path, reader=reader, name=name, **limits) as stream:
            has_text = False
            for found in READERS[reader].read(stream, path=name, account=account, **options):
                has_text = has_text or bool(found.text.strip())
                yield found if found.kind else dataclasses.replace(found, kind=reader)
            if not has_text:
                account.note("file_without_text", name)
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
    opened = functools.partial(open_file, reader="moses", name=name, max_bytes=max_bytes)
    with opened(paths[0]) as left, opened(paths[1]) as right:
        yield from READERS["moses"].read((left, right), path=name, account=account, **options)


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
                with open_file(path, reader="stix", name=name, max_bytes=max_bytes) as stream:
                    yield name, stream
            except document.ReadError as error:
                on_error(name, error)

    yield from READERS["stix"].read(streams(), on_error=on_error, account=account)
