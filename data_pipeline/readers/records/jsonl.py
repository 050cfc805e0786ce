"""JSON lines, plain or Zstandard -> one document per line. Also what a build itself writes."""

import dataclasses
import json
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import textfiles
from data_pipeline.readers.account import NONE, Account

MAX_LINE_BYTES = 64 * 1024 * 1024
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_FIELDS = tuple(field.name for field in dataclasses.fields(document.Document))


def read(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "id",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each line's object; raises ReadError("json_broken") at the first bad one.

    Fields with the names of Document's are taken over where they are strings. Truncated or damaged
    Zstandard raises EOFError, as the streams of the other compressions do.
    """
    for number, line in enumerate(_lines(stream, path)):
        if not line.strip():
            continue
        try:
            found = json.loads(document.decode(line, path=path))
        except (ValueError, RecursionError) as error:
            if isinstance(error, document.ReadError):
                raise
            raise document.ReadError("json_broken", f"{path}:{number + 1}: {error}") from error
        text = found.get(text_key) if isinstance(found, dict) else None
        if not isinstance(text, str):
            raise document.ReadError("json_broken", f"{path}:{number + 1}: no {text_key!r} string")
        values = {
            key: found[key] for key in _FIELDS if isinstance(found.get(key), str) and key != "text"
        }
        identity = found.get(id_key)
        values["id"] = str(identity) if identity is not None else f"{path}#{number}"
        values.setdefault("path", path)
        values["text"] = text
        # JSON can write half of a surrogate pair, which no file can hold.
        whole = {key: value.encode("utf-8", "ignore").decode() for key, value in values.items()}
        if whole != values:
            account.left_out("lone_surrogates", whole["id"])
        fields = _fields(found, without=text_key)
        raw = "\n".join([text, *(each for _, each in fields)]) if fields else text
        account.read(raw, whole["text"], where=whole["id"], pieces=lambda _, f=fields: f)
        yield document.Document(**whole)


def _fields(found: dict, *, without: str) -> list[tuple[str, str]]:
    """The fields of a record that are not its text, each with the reason why it is not shown."""
    return [
        (
            "markup/known_fields" if key in _FIELDS else "other_fields",
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        )
        for key, value in found.items()
        if key != without
    ]


def _lines(stream: BinaryIO, path: str) -> Iterator[bytes]:
    head = stream.read(len(_ZSTD_MAGIC))
    source, pending = stream, head
    if head == _ZSTD_MAGIC:
        source, pending = textfiles.zstandard_reader(_Prepended(head, stream)), b""
    while chunk := source.read(1 << 18):
        pending += chunk
        *lines, pending = pending.split(b"\n")
        yield from lines
        if len(pending) > MAX_LINE_BYTES:
            raise document.ReadError("too_large", f"{path}: a line above {MAX_LINE_BYTES}")
    if pending:
        yield pending


class _Prepended:
    def __init__(self, head: bytes, stream: BinaryIO):
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head + self._stream.read(size - len(head) if size >= 0 else -1)
