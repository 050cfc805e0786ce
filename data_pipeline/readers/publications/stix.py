"""MITRE ATT&CK in STIX 2 (bundles or one object per file) -> one document per object.

A source is read as a whole: the same object stands in a bundle and in a file of its own, and in
every version of a bundle. The newest `modified` of each id counts.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from data_pipeline import document

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
    left_out: document.LeftOut = document.uncounted,
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
                if found["id"] not in newest or rank > newest[found["id"]][0]:
                    newest[found["id"]] = (rank, found, path)
        except document.ReadError as error:
            if on_error is None:
                raise
            on_error(path, error)
    live = {key: found for key, (_, found, _) in newest.items() if _is_live(found)}
    relations: dict[str, list[dict]] = {}
    for key in sorted(live):
        found = live[key]
        ends = found.get("source_ref"), found.get("target_ref")
        if found.get("type") == "relationship" and all(isinstance(end, str) for end in ends):
            if ends[1] in live:
                relations.setdefault(ends[0], []).append(found)
    for key in sorted(live):
        text = _text(live[key], relations.get(key, []), live)
        if text:
            yield document.Document(id=key, text=text, path=newest[key][2])


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
