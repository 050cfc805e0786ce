"""Source code as it stands, its language in the document's kind: code/python."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import compression, languages
from data_pipeline.readers.account import NONE, Account

MAX_BYTES = 8 * 1024 * 1024  # above it a program wrote the file


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file as one document; raises ReadError("too_large") above 8 MiB."""
    text = document.read_text(stream, path=path, encodings=document.WESTERN, max_bytes=MAX_BYTES)
    account.read(text, text, where=path)
    if text.strip():
        yield document.Document(id=path, text=text, path=path, kind=f"code/{language(path)}")


def language(path: str) -> str:
    """Returns the language that a file's name tells, or "other"."""
    name = PurePath(compression.stripped(path)).name.lower()
    found = languages.BY_NAME.get(name) or languages.BY_SUFFIX.get(PurePath(name).suffix)
    return found or "other"
