"""JSON lines -> one document for each. Also what a corpus build itself writes."""

import json
from collections.abc import Iterator
from typing import BinaryIO

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
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each line's object; its fields with the names of Document's are kept.

    Without `id_key` a document is named by its line. Raises ReadError: "json_broken" for what is
    no object with a text, "undecodable" for what no text has.
    """
    for number, offset, line in textfiles.lines(stream, path=path):
        if not line.strip():
            continue
        where = f"{path}, line {number} at byte {offset}"
        if bad_text != "replace":
            textfiles.check_nul(line, path, offset)
        strict = "error" if bad_text == "cut" else bad_text
        raw = textfiles.decoded(line, path=path, offset=offset, bad_text=strict)
        try:
            record = json.loads(raw)
        except (ValueError, RecursionError) as error:
            message = f"{where}: not JSON ({error}): mend the line"
            raise document.ReadError("json_broken", message) from None
        if not isinstance(record, dict):
            message = f"{where}: not a JSON object: give one object per line"
            raise document.ReadError("json_broken", message)
        yield fields.taken(
            record,
            where=where,
            name=f"{path}#{number}",
            text_key=text_key,
            id_key=id_key,
            bad_text=bad_text,
            account=account,
        )
