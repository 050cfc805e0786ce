"""PowerPoint's .pptx, by python-pptx -> titles, text, tables and notes, slide by slide."""

from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.office import sandbox


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file as one document; raises what sandbox.converted raises."""
    found = sandbox.converted(stream, "pptx", path=path)
    slides = [[sandbox.clean(block).strip("\n") for block in slide] for slide in found["slides"]]
    text = "\n\n".join(block for slide in slides for block in slide if block.strip())
    account.read(text, text, where=path)
    if text:
        yield document.Document(id=path, text=text, path=path, title=sandbox.line(found["title"]))
