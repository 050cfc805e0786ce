"""A JSON file -> a document for each record with a text; any other JSON as it stands."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from data_pipeline import document
from data_pipeline.readers import source_code
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.records import fields, jsonl


def read(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "",
    bad_text: str = "error",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each object of a list, or of a single one; other JSON is code/json.

    JSON lines under this name are read as such. Raises ReadError("json_broken") for what is
    neither, "too_large" above 64 MiB of what is no JSON lines, 8 MiB of what holds no texts.
    """
    options = {"text_key": text_key, "id_key": id_key, "bad_text": bad_text, "account": account}
    first = stream.readline(document.MAX_FILE_BYTES + 1)
    if _is_object(first) and (second := _next_line(stream)):
        rest: Any = _Lines([first, second], stream)
        yield from jsonl.read(rest, path=path, on_bad=on_bad, **options)
        return
    room = document.MAX_FILE_BYTES - len(first)
    data = first + document.read_bytes(stream, path=path, max_bytes=max(room, 0))
    raw = document.decode(data, path=path)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise document.ReadError("json_broken", f"{path}: not JSON ({error})") from None
    records = content if isinstance(content, list) else [content]
    if not any(isinstance(each, dict) and text_key in each for each in records):
        if len(data) > source_code.MAX_BYTES:
            raise document.ReadError(
                "too_large", f"{path}: {len(data)} bytes of JSON without texts"
            )
        account.read(raw, raw, where=path)
        yield document.Document(id=path, text=raw, path=path, kind="code/json")
        return
    for number, record in enumerate(records, 1):
        where = f"{path}, record {number}"
        try:
            if not isinstance(record, dict):
                raise document.ReadError("json_broken", f"{where}: no object, as others are")
            found = fields.taken(record, where=where, name=f"{path}#{number}", **options)
        except document.ReadError as error:
            on_bad(error)
        else:
            yield found


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.removeprefix(b"\xef\xbb\xbf")), dict)
    except (ValueError, RecursionError):
        return False


def _next_line(stream: BinaryIO) -> bytes:
    """The next line that is not blank, empty at the end."""
    while line := stream.readline(document.MAX_FILE_BYTES + 1):
        if line.strip():
            return line
    return b""


class _Lines:
    """A stream of which the first lines were already read."""

    def __init__(self, lines: list[bytes], stream: BinaryIO):
        self._lines, self._stream = lines, stream

    def readline(self, size: int) -> bytes:
        return self._lines.pop(0) if self._lines else self._stream.readline(size)
