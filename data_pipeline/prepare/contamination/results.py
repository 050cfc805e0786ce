"""What was found of evaluation text in a training dataset, kept beside it for the next who asks.

    contamination/<fingerprint>.json     one file for each evaluated dataset, in the trained one

It counts while both fingerprints, and the settings, are those of the question: an append to either
dataset makes it void.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipeline import errors
from data_pipeline.corpus import files
from data_pipeline.prepare.contamination import compare
from data_pipeline.similarity import containment

DIRECTORY = "contamination"
_KIND, _SCHEMA = "contamination", 2


def keep(
    train: Sequence[compare.Documents],
    evaluated: Sequence[compare.Documents],
    settings: containment.Settings,
    overlaps: list[list[compare.Overlap]],
) -> None:
    """Adds the overlaps to what is kept; UserError where that cannot be written.

    Those of a share of the documents are not kept.
    """
    changed: dict[Path, dict] = {}
    for one, row in zip(train, overlaps, strict=True):
        for other, overlap in zip(evaluated, row, strict=True):
            if one.share < 1 or other.share < 1:
                continue
            path = _path(one, other)
            content = changed.setdefault(path, _read(path, one, other, settings))
            content["pairs"][_pair(one, other)] = dataclasses.asdict(overlap)
    for path, content in changed.items():
        try:
            files.write_json(path, content)
        except OSError as error:
            raise errors.UserError(f"cannot write {path}: {error.strerror}") from None


def known(
    train: compare.Documents, evaluated: compare.Documents, settings: containment.Settings
) -> compare.Overlap | None:
    """Returns what is kept of a pair, or None."""
    content = _read(_path(train, evaluated), train, evaluated, settings)
    found = content["pairs"].get(_pair(train, evaluated))
    try:
        examples = tuple(compare.Example(**one) for one in found["examples"])
        fields: dict[str, Any] = {**found, "examples": examples}
        return compare.Overlap(**fields)
    except (TypeError, KeyError):  # none, or not of this shape
        return None


def _path(train: compare.Documents, evaluated: compare.Documents) -> Path:
    name = f"{evaluated.component.dataset.fingerprint[:16]}.json"
    return Path(train.component.dataset.path) / DIRECTORY / name


def _pair(train: compare.Documents, evaluated: compare.Documents) -> str:
    """Names of sources hold no slash."""
    return f"{train.component.source}/{evaluated.component.source}/{evaluated.split}"


def _read(path: Path, train, evaluated, settings: containment.Settings) -> dict:
    """The kept content, or an empty one where there is none for these datasets and settings."""
    empty = {
        "kind": _KIND,
        "schema": _SCHEMA,
        "train": train.component.dataset.fingerprint,
        "evaluated": evaluated.component.dataset.fingerprint,
        "settings": dataclasses.asdict(settings),
        "pairs": {},
    }
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return empty  # it can be made again: nothing depends on it
    if not isinstance(content, dict) or content | {"pairs": {}} != empty:
        return empty
    return content
