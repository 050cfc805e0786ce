"""Plain text files -> one document each, or one per paragraph block when asked to."""

from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account


def read(
    stream: BinaryIO,
    *,
    path: str,
    encodings: tuple[str, ...] = ("utf-8",),
    separator: str = "",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the file as it stands, or its pieces between lines equal to `separator`."""
    text = document.read_text(stream, path=path, encodings=tuple(encodings))
    if not separator:
        account.read(text, text, where=path)
        if text.strip():
            yield document.Document(id=path, text=text.strip("\n"), path=path)
        return
    number, lines = 0, []
    for line in [*text.split("\n"), separator]:
        if line.strip() != separator:
            lines.append(line)
            continue
        piece = "\n".join(lines).strip("\n")
        lines = []
        if piece.strip():
            account.read(piece, piece, where=path)
            yield document.Document(id=f"{path}#{number}", text=piece, path=path)
            number += 1
