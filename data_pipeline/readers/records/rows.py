"""Rows of tab-separated values -> documents of neighbouring rows, as they stand."""

from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import textfiles
from data_pipeline.readers.account import NONE, Account


def read(
    stream: BinaryIO,
    *,
    path: str,
    rows: int = 64,
    split_fields: bool = False,
    bad_text: str = "error",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields documents of `rows` rows, blank ones left out; each field on its own line if asked."""
    lines: list[str] = []
    count = 0

    def finished():
        found = document.Document(id=f"{path}#{count}", text="\n".join(lines), path=path)
        account.read(found.text, found.text, where=found.id)
        lines.clear()
        return found

    for number, offset, line in textfiles.lines(stream, path=path):
        where = f"{path}, line {number} at byte {offset}"
        try:
            if bad_text == "error":
                textfiles.check_nul(line, path, offset)
            row = textfiles.decoded(line, path=path, offset=offset, bad_text=bad_text)
            row = textfiles.clean(row, where=where, bad_text=bad_text)
        except document.ReadError as error:
            on_bad(error)
            continue
        if not row.strip():
            continue
        lines += [each for each in row.split("\t") if each.strip()] if split_fields else [row]
        count += 1
        if count % rows == 0:
            yield finished()
    if lines:
        yield finished()
