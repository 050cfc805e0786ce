"""CSV -> a document for each record with a text, else for each run of neighbouring rows.

Rows of a table are joined by " | ", a cell on one line, below the names of the columns.
"""

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import textfiles
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.records import fields

_DELIMITERS = ",;\t|"
_ESCAPED = re.compile("[\udc80-\udcff]")


def read(
    stream: BinaryIO,
    *,
    path: str,
    rows: int = 64,
    text_key: str = "text",
    id_key: str = "",
    bad_text: str = "error",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each row where a column is named `text_key`, else `rows` rows each.

    The separator is the comma, semicolon, tab or bar that the first line has most of. Raises
    ReadError: "csv_broken" for quotes that do not end, "undecodable" for what is no text.
    """
    how = "escape" if bad_text == "error" else bad_text
    lines = _lines(stream, path=path, bad_text=how)
    first = next(lines, "")
    csv.field_size_limit(textfiles.MAX_LINE_BYTES)
    reader = csv.reader(_chained(first, lines), delimiter=_delimiter(first), strict=True)
    try:
        names = [name.strip() for name in _decoded(next(reader, []), f"{path}, line 1")]
        if text_key in names:
            options = {"text_key": text_key, "id_key": id_key, "bad_text": bad_text}
            for row in reader:
                if any(cell.strip() for cell in row):
                    where, name = f"{path}, line {reader.line_num}", f"{path}#{reader.line_num}"
                    try:
                        record = _record(names, _decoded(row, where))
                        found = fields.taken(
                            record, where=where, name=name, account=account, **options
                        )
                    except document.ReadError as error:
                        on_bad(error)
                    else:
                        yield found
        else:
            every = (_decoded(row, f"{path}, line {reader.line_num}") for row in reader)
            yield from _tables(names, every, path=path, rows=rows, account=account)
    except csv.Error as error:
        message = f"{path}, line {reader.line_num}: no CSV ({error}): mend it"
        raise document.ReadError("csv_broken", message) from None


def _decoded(row: list[str], where: str) -> list[str]:
    """The row; raises ReadError for bytes that are not UTF-8, which are lone surrogates in it."""
    if any(_ESCAPED.search(cell) for cell in row if not cell.isascii()):
        raise document.ReadError(
            "undecodable",
            f"{where}: not UTF-8: convert the file (iconv -f ITS_ENCODING -t UTF-8), or pass "
            "--bad_text=replace",
        )
    return row


def _record(names: list[str], row: list[str]) -> dict[str, str]:
    """The row by name; a cell without a name, or with another's, is `column N`: it is counted."""
    record: dict[str, str] = {}
    for number, cell in enumerate(row, 1):
        name = names[number - 1] if number <= len(names) else ""
        record[name if name and name not in record else f"column {number}"] = cell
    return record


def _tables(
    names: list[str], reader: Iterator[list[str]], *, path: str, rows: int, account: Account
) -> Iterator[document.Document]:
    """Documents of `rows` rows each; the names of columns, if they are some, stand above all."""
    head = _row(names)
    lines = [] if _is_header(names) else [head]
    number = 0

    def finished():
        text = "\n".join([head, *lines] if _is_header(names) else lines)
        # The names were in the file once.
        raw = text if number == 0 or not _is_header(names) else "\n".join(lines)
        account.read(raw, text, where=f"{path}#{number}")
        return document.Document(id=f"{path}#{number}", text=text, path=path)

    for row in reader:
        if any(cell.strip() for cell in row):
            lines.append(_row(row))
        if len(lines) == rows:
            yield finished()
            lines, number = [], number + 1
    if any(lines):
        yield finished()


def _row(cells: list[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells).strip()


def _is_header(names: list[str]) -> bool:
    """Names of columns are different, none is empty, and none holds a digit."""
    is_name = all(name and not any(map(str.isdigit, name)) for name in names)
    return len(names) > 1 and is_name and len(set(names)) == len(names)


def _delimiter(line: str) -> str:
    counts = {sign: line.count(sign) for sign in _DELIMITERS}
    return max(counts, key=lambda sign: counts[sign])


def _lines(stream: BinaryIO, *, path: str, bad_text: str) -> Iterator[str]:
    """Lines with their ends, which a cell in quotes may hold."""
    held = ""
    for block in textfiles.text_blocks(stream, path=path, bad_text=bad_text):
        *whole, held = (held + block).split("\n")
        for line in whole:
            yield line + "\n"
        if len(held) > textfiles.MAX_LINE_BYTES:
            raise document.ReadError("too_large", f"{path}: a line above 64 MiB, it is no CSV")
    if held:
        yield held


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines
