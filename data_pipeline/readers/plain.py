"""Plain text files -> one document each, or one for each part between separators.

A file that begins with one of the original's blocks gives one document for each of them. Above a
million characters a document comes in parts, which follow one another under one id.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import markers, textfiles
from data_pipeline.readers.account import NONE, Account


def read(
    stream: BinaryIO,
    *,
    path: str,
    encodings: tuple[str, ...] = ("utf-8",),
    separator: str = "",
    pattern: str = "",
    bad_text: str = "error",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text as it stands, in parts between lines equal to `separator`, or what `pattern`
    matches.

    Text of other `encodings`, of which the first that fits is taken, is held in memory as a whole.
    """
    if tuple(encodings) == ("utf-8",):
        blocks = textfiles.text_blocks(stream, path=path, bad_text=bad_text)
    else:
        blocks = iter([document.read_text(stream, path=path, encodings=tuple(encodings))])
    if separator:
        pattern = rf"^[ \t]*{re.escape(separator)}[ \t]*$\n?"
    compiled = markers.compile_separator(pattern) if pattern else None
    for number, part, source in markers.split(blocks, separator=compiled, skip=account.skip):
        where = f"{path}#{number}"
        account.read(part, part, where=where)
        yield document.Document(id=where, text=part, source=source, path=path)
