"""The fields of a record, of whatever format, that become a document."""

import json

from data_pipeline import document
from data_pipeline.readers import textfiles
from data_pipeline.readers.account import Account

NAMES = (
    "id",
    "source",
    "licence",
    "license",
    "split_key",
    "lang",
    "origin",
    "role",
    "path",
    "kind",
)


def taken(
    record: dict,
    *,
    where: str,
    name: str,
    text_key: str,
    id_key: str,
    bad_text: str,
    account: Account,
) -> document.Document:
    """Returns a record's document; raises ReadError("no_text_field") where it has no text.

    `name` is its id where it gives none; `where` stands for it in errors.
    """
    text = record.get(text_key)
    if text_key not in record:
        listed = ", ".join(map(str, record))[:200]
        message = f"{where}: no field {text_key!r} but {listed}: pass --text_field"
        raise document.ReadError("no_text_field", message)
    if not isinstance(text, str):
        message = (
            f"{where}: field {text_key!r} is {type(text).__name__}, text is wanted: mend the "
            "record or pass --text_field"
        )
        raise document.ReadError("no_text_field", message)
    given = {
        key: str(record[key]) for key in (*NAMES, id_key, "title") if record.get(key) is not None
    }
    values = {
        "id": given.get(id_key, name),
        "source": given.get("source", ""),
        "role": given.get("role", ""),
        "lang": given.get("lang", ""),
        "licence": given.get("licence", given.get("license", "")),
        "origin": given.get("origin", ""),
        "path": given.get("path", name.rpartition("#")[0]),
        "split_key": given.get("split_key", ""),
        "kind": given.get("kind", ""),
        "title": given.get("title", ""),
    }
    values = {
        key: textfiles.clean(each, where=where, bad_text="cut") for key, each in values.items()
    }
    shown = textfiles.clean(text, where=where, bad_text=bad_text)
    if bad_text == "cut" and len(shown) < len(text.replace("\r\n", "\n")):
        account.note("lone_surrogates", values["id"])
    # What is no field of a document is lost: its words are counted.
    others = "\n".join(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for key, value in record.items()
        if key not in (text_key, id_key, *NAMES) and value is not None
    )
    raw = f"{shown}\n{others}" if others else shown
    account.read(raw, shown, where=values["id"], pieces=lambda _: [("other_fields", others)])
    return document.Document(text=shown, **values)
