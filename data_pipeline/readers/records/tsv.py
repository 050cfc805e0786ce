"""Parallel text, as TSV or as two line-aligned files (Moses) -> documents of neighbouring pairs.

A pair alone is a sentence without context; neighbours come from one text, so that a document is
a run of pairs in the file's order: first the sentences in one language, then in the other.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account

MAX_LINE_BYTES = 1 << 20
MAX_PAIRS = 10_000
_END = object()  # of the shorter of two files


def read(
    stream: BinaryIO,
    *,
    path: str,
    columns: tuple[int, int] = (0, 1),
    pairs: int = 32,
    layout: str = "pairs",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields documents of `pairs` neighbouring pairs; an empty line of the file ends one.

    `layout` is "pairs" (a sentence, its translation, the next sentence, ...) or "blocks" (all
    sentences in one language, then all in the other).
    """
    first, second = columns

    def rows():
        for number, line in enumerate(_lines(stream, path, account)):
            if line is None:
                continue
            fields = line.split("\t")
            if not line.strip():
                yield None
            elif len(fields) > max(first, second):
                yield fields[first], fields[second]
                if len(fields) > 2:
                    rest = [each for at, each in enumerate(fields) if at not in columns]
                    account.skip("other_columns", "\t".join(rest))
            elif number == 0:
                raise document.ReadError(
                    "tsv_columns", f"{path}: {len(fields)} columns, wanted {max(columns) + 1}"
                )
            else:
                _left_out(account, "tsv_columns", line, f"{path}:{number + 1}")

    yield from _documents(rows(), path=path, pairs=pairs, layout=layout, account=account)


def read_aligned(
    streams: tuple[BinaryIO, BinaryIO],
    *,
    path: str,
    pairs: int = 32,
    layout: str = "pairs",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """The same for two files whose lines correspond; raises ReadError("not_aligned")."""

    def rows():
        sides = [_lines(stream, path, account) for stream in streams]
        for left, right in itertools.zip_longest(*sides, fillvalue=_END):
            if left is _END or right is _END:
                raise document.ReadError("not_aligned", f"{path}: files of unequal length")
            if isinstance(left, str) and isinstance(right, str):
                yield (left, right) if left.strip() or right.strip() else None

    yield from _documents(rows(), path=path, pairs=pairs, layout=layout, account=account)


def _lines(stream: BinaryIO, path: str, account: Account) -> Iterator[str | None]:
    """Yields each line, None for one that is no text; raises ReadError if the first is none."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise document.ReadError("too_large", f"{path}: a line above {MAX_LINE_BYTES} bytes")
        try:
            yield document.decode(line.rstrip(b"\r\n"), path=path)
        except document.ReadError:
            if number == 1:
                raise
            account.note("undecodable_line", f"{path}:{number}")
            yield None


def _documents(
    rows: Iterable[tuple[str, str] | None],
    *,
    path: str,
    pairs: int,
    layout: str,
    account: Account,
) -> Iterator[document.Document]:
    if not 1 <= pairs <= MAX_PAIRS or layout not in ("pairs", "blocks"):
        raise document.ReadError("options", f"{path}: got pairs={pairs}, layout={layout!r}")
    run: list[tuple[str, str]] = []
    number = 0

    def finished():
        if layout == "pairs":
            text = "\n\n".join(f"{left}\n{right}".strip() for left, right in run)
        else:
            text = "\n".join(left for left, _ in run) + "\n\n" + "\n".join(r for _, r in run)
        return document.Document(id=f"{path}#{number}", text=text.strip("\n"), path=path)

    for row in itertools.chain(rows, [None]):
        if row is not None:
            left, right = row[0].strip(), row[1].strip()
            if left and right:  # half a pair is an alignment error
                run.append((left, right))
            else:
                _left_out(account, "half_pair", left or right, path)
        if run and (row is None or len(run) == pairs):
            found = finished()
            account.read(found.text, found.text, where=found.id)
            yield found
            run.clear()
            number += 1


def _left_out(account: Account, kind: str, text: str, where: str) -> None:
    account.note(kind, f"{where}: {text}")
    account.skip(kind, text)
