"""Which object of a bucket each file of a mirror is a copy of.

A store counts the versions of an object (GCS: generation) or names its content (S3: ETag). A file
is fetched again where the object is another one by now, or where somebody touched the copy.
"""

import json
import os
import uuid
from collections.abc import Mapping
from typing import NamedTuple

from data_pipeline import atomic, digests


class Object(NamedTuple):
    """What a listing says of an object; `version` is "" in a store that tells none."""

    size: int
    version: str

    @classmethod
    def of(cls, entry: Mapping) -> "Object":
        told = (entry.get(key) for key in ("generation", "ETag", "etag"))
        return cls(entry["size"], str(next(filter(None, told), "")))


class Copies:
    """Kept in one file for a whole bucket, since the mirrors of its parts are parts of its own."""

    def __init__(self, path: str):
        self._path = path
        self._known = self._read()

    def is_copy(self, name: str, path: str, of: Object) -> bool:
        """Whether the file at `path` is still what was fetched of this version."""
        if not of.version:  # JSON files are small, and may have changed
            same = os.path.isfile(path) and os.path.getsize(path) == of.size
            return same and not name.endswith(".json")
        try:
            return self._known[name] == [of.version, *digests.states([path])]
        except (KeyError, FileNotFoundError):
            return False

    def note(self, name: str, path: str, of: Object) -> None:
        """The file at `path` has just been fetched."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with atomic.locked(f"{self._path}.lock", wait=True):
            known = self._read() | {name: [of.version, *digests.states([path])]}
            with atomic.replacing(self._path, writer=uuid.uuid4().hex) as file:
                file.write(json.dumps(known, indent=1).encode())

    def _read(self) -> dict[str, list]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
