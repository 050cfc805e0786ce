"""Source code as it stands, its language in the document's kind: code/python."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import compression, languages
from data_pipeline.readers.account import NONE, Account

# What a script is run by: #!/usr/bin/env -S python3 -u.
_INTERPRETER = re.compile(r"#!\s*(?:\S*/env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?:\S*/)?([\w.+-]+)")
MAX_BYTES = 8 * 1024 * 1024  # above it a program wrote the file


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file as one document; raises ReadError("too_large") above 8 MiB."""
    data = document.read_bytes(stream, path=path, max_bytes=MAX_BYTES)
    text = document.decode(data, path=path, encodings=document.encodings_in(data))
    account.read(text, text, where=path)
    if text.strip():
        kind = f"code/{language(path, text)}"
        yield document.Document(id=path, text=text, path=path, kind=kind)


def language(path: str, text: str) -> str:
    """Returns the language that a file's name tells, else its first line (#!), or "other"."""
    name = PurePath(compression.stripped(path)).name.lower()
    found = languages.BY_NAME.get(name) or languages.BY_SUFFIX.get(PurePath(name).suffix)
    if found is None and (called := _INTERPRETER.match(text)):
        program = called.group(1)
        found = languages.BY_INTERPRETER.get(program.rstrip("0123456789.-"), program)
    return found or "other"
