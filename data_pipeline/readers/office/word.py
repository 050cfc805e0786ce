"""Word's .docx, by mammoth to HTML -> text as the HTML reader writes it."""

from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.markup import html
from data_pipeline.readers.office import sandbox


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file as one document; raises what sandbox.converted raises."""
    found = sandbox.converted(stream, "docx", path=path)
    raw = sandbox.clean(found["html"])
    text = html.convert(raw, fragment=True, left_out=account.left_out)
    for kind, words in found["left_out"].items():
        account.skip(kind, words)
    account.read(html.unescaped(raw), text, where=path, pieces=lambda _: html.MARKUP(raw))
    if text:
        yield document.Document(id=path, text=text, path=path, title=sandbox.line(found["title"]))
