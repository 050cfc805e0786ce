"""MITRE ATT&CK in STIX 2 (bundles or one object per file) -> one document per object.

A source is read as a whole: the same object stands in a bundle and in a file of its own, and in
every version of a bundle. The newest `modified` of each id counts.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account

_KINDS = {
    "attack-pattern": "technique",
    "malware": "malware",
    "tool": "tool",
    "course-of-action": "mitigation",
    "intrusion-set": "group",
    "campaign": "campaign",
    "x-mitre-tactic": "tactic",
    "x-mitre-asset": "asset",
    "x-mitre-data-source": "data source",
    "x-mitre-data-component": "data component",
    "x-mitre-detection-strategy": "detection strategy",
    "x-mitre-analytic": "analytic",
    "x-mitre-matrix": "matrix",
}
_SHOWN = frozenset((*_KINDS, "relationship"))
# Fields that say which object it is, of which version, in which file.
_IDENTITY = frozenset(
    """id type created modified spec_version revoked object_marking_refs relationship_type
    x_mitre_version x_mitre_attack_spec_version x_mitre_domains x_mitre_deprecated""".split()
)
# Relationship -> what a reader of its source object is told; procedures are its "uses".
_VERBS = {
    "uses": "uses",
    "mitigates": "mitigates",
    "detects": "detects",
    "targets": "targets",
    "attributed-to": "is attributed to",
    "subtechnique-of": "is a sub-technique of",
}
_CITATION = re.compile(r"\s?\(Citation:[^()]*(?:\([^()]*\)[^()]*)*\)")
_LINK = re.compile(r"\[([^\[\]]{1,300})\]\((?:https?://|/)[^()\s]*(?:\([^()\s]*\)[^()\s]*)*\)")
_HTML = re.compile(r"</?(?:code|br|p|b|i|em|strong|ul|ol|li|a)\b[^<>]{0,300}>", re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/p|/li)\b[^<>]{0,20}>", re.IGNORECASE)


def read(stream: BinaryIO, *, path: str) -> Iterator[document.Document]:
    """Yields the objects of one file alone; `read_source` is what a build uses."""
    yield from read_source([(path, stream)])


def read_source(
    files: Iterable[tuple[str, BinaryIO]],
    *,
    on_error=None,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields one document per object of all files, in the order of STIX ids.

    Revoked and deprecated objects are skipped, relationships become sentences of the object that
    they start from. A file that is not JSON raises ReadError("json_broken"), or is handed to
    on_error(path, error) where that is given.
    """
    newest: dict[str, tuple[tuple, dict, str]] = {}
    for path, stream in files:
        try:
            for found in _objects(document.read_bytes(stream, path=path), path):
                # A bundle and a single file hold equal copies: the path breaks the tie.
                rank = (str(found.get("modified", "")), path)
                older = newest.get(found["id"])
                if older is None or rank > older[0]:
                    newest[found["id"]] = (rank, found, path)
                    found = older and older[1]
                if found:
                    account.skip("older_version_or_copy", _strings(found))
        except document.ReadError as error:
            if on_error is None:
                raise
            on_error(path, error)
    live = {key: found for key, (_, found, _) in newest.items() if _is_live(found)}
    relations: dict[str, list[dict]] = {}
    for key in sorted(newest):
        found = newest[key][1]
        start, end = found.get("source_ref"), found.get("target_ref")
        if key not in live:
            account.skip("revoked_or_deprecated", _strings(found))
        elif found.get("type") != "relationship":
            continue
        elif isinstance(start, str) and isinstance(end, str) and {start, end} <= live.keys():
            relations.setdefault(start, []).append(found)
        else:
            account.skip("relation_of_nothing_shown", _strings(found))
    for key in sorted(key for key in live if live[key].get("type") != "relationship"):
        found, related = live[key], relations.get(key, [])
        text = _text(found, related, live)
        raw = "\n".join(map(_strings, (found, *related)))
        pieces = functools.partial(_pieces, (found, *related), text)
        account.read(raw, text, where=key, pieces=pieces)
        if text:
            yield document.Document(
                id=key, text=text, path=newest[key][2], title=str(found.get("name", ""))
            )


def _strings(value) -> str:
    """Every string and number of an object, one a line."""
    if isinstance(value, dict | list):
        return "\n".join(map(_strings, value.values() if isinstance(value, dict) else value))
    return "" if value is None or isinstance(value, bool) else str(value)


def _pieces(found: tuple[dict, ...], text: str, raw: str) -> Iterator[tuple[str, str]]:
    """The fields of objects that are not shown, by name; of those that are, what is cut."""
    if not text:
        yield "without_description", _strings(found[0].get("name"))
    told = [str(each.get("description")) for each in found[1:]]
    yield "repeated_sentences", "\n".join(each for each in told if told.count(each) > 1)
    for each in found:
        kind = str(each.get("type"))
        for key, value in each.items():
            if key in ("name", "description", "x_mitre_detection") and kind in _SHOWN:
                text = str(value)
                yield "citations", " ".join(_CITATION.findall(text))
                yield "markup/link_targets", " ".join(m.group() for m in _LINK.finditer(text))
                yield "markup/tags", " ".join(_HTML.findall(text))
            elif key in _IDENTITY or key.endswith(("_ref", "_refs")):
                yield "markup/identity", _strings(value)
            elif key not in ("name", "description"):
                yield f"field_{key}", _strings(value)
        if kind not in _SHOWN:
            yield f"object_{kind}", _strings(each)


def _objects(data: bytes, path: str) -> Iterator[dict]:
    try:
        parsed = json.loads(document.decode(data, path=path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, document.ReadError):
            raise
        raise document.ReadError("json_broken", f"{path}: {error}") from error
    objects = parsed.get("objects") if isinstance(parsed, dict) else None
    if objects is None and isinstance(parsed, dict):
        objects = [parsed]
    for found in objects if isinstance(objects, list) else ():
        if isinstance(found, dict) and isinstance(found.get("id"), str):
            yield found


def _is_live(found: dict) -> bool:
    return not found.get("revoked") and not found.get("x_mitre_deprecated")


def _text(found: dict, relations: list[dict], live: dict[str, dict]) -> str:
    kind = _KINDS.get(str(found.get("type")))
    name = _name(found)
    description = _prose(found.get("description"))
    if not kind or not name or not description:
        return ""
    number = next(
        (
            reference["external_id"]
            for reference in _dicts(found.get("external_references"))
            if str(reference.get("source_name", "")).startswith("mitre")
            and isinstance(reference.get("external_id"), str)
        ),
        "",
    )
    head = f"{name} ({kind} {number})" if number else f"{name} ({kind})"
    blocks = [head, description]
    detection = _prose(found.get("x_mitre_detection"))
    if detection:
        blocks += ["Detection", detection]
    # What is said of several objects in the same words (mitigations) is said once.
    targets: dict[tuple[str, str], dict[str, None]] = {}
    for relation in relations:
        told = _prose(relation.get("description"))
        verb = _VERBS.get(str(relation.get("relationship_type")))
        target = _name(live[relation["target_ref"]])
        if told and verb and target:
            targets.setdefault((verb, told), {})[target] = None
    for (verb, told), named in targets.items():
        blocks.append(f"{name} {verb} {', '.join(named)}. {told}")
    return "\n\n".join(blocks)


def _name(found: dict) -> str:
    name = found.get("name")
    return " ".join(name.split()) if isinstance(name, str) else ""


def _dicts(value) -> list[dict]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _prose(value) -> str:
    if not isinstance(value, str):
        return ""
    text = _CITATION.sub("", value)
    text = _LINK.sub(r"\1", text)
    text = _HTML.sub("", _BREAK.sub("\n", text))
    lines = [line.rstrip() for line in text.replace("\r", "").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
