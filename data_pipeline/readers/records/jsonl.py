"""JSON lines -> one document for each. Also what a corpus build itself writes."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from data_pipeline import document
from data_pipeline.readers import textfiles
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.records import fields


def read(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "id",
    bad_text: str = "cut",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each line's object; its fields with the names of Document's are kept.

    Without `id_key` a document is named by its line. `on_bad` gets "json_broken" for what is no
    object, "no_text_field" for one without a text, "undecodable" for what no text has.
    """
    options = {"text_key": text_key, "id_key": id_key, "bad_text": bad_text, "account": account}
    for number, offset, line in textfiles.lines(stream, path=path):
        if not line.strip():
            continue
        where = f"{path}, line {number} at byte {offset}"
        try:
            record = _object(line, where=where, path=path, offset=offset, bad_text=bad_text)
            found = fields.taken(record, where=where, name=f"{path}#{number}", **options)
        except document.ReadError as error:
            on_bad(error)
        else:
            yield found


def _object(line: bytes, *, where: str, path: str, offset: int, bad_text: str) -> dict[str, Any]:
    if bad_text != "replace":
        textfiles.check_nul(line, path, offset)
    strict = "error" if bad_text == "cut" else bad_text
    try:
        record = json.loads(textfiles.decoded(line, path=path, offset=offset, bad_text=strict))
    except (ValueError, RecursionError) as error:
        if isinstance(error, document.ReadError):
            raise
        message = f"{where}: not JSON ({error}): mend the line"
        raise document.ReadError("json_broken", message) from None
    if not isinstance(record, dict):
        message = f"{where}: not a JSON object: give one object per line"
        raise document.ReadError("json_broken", message)
    return record
