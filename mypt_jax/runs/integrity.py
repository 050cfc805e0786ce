"""The SHA-256 manifest of a checkpoint step: written last, checked before anything is restored.

Orbax restores flipped bits without a word, and lists an empty directory as a step. A step counts
only when its manifest is there and every file has the size and hash that it names.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Mapping

from data_pipeline import atomic, digests

SCHEMA = 1
MANIFEST = "manifest.json"
_THREADS = 8  # hashlib releases the GIL; more threads than this only wait for the disk


def _sync_and_hash(path: str) -> str:
    """The manifest must not reach the disk before the files that it vouches for."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digests.sha256(path)


def _files(directory: str) -> list[str]:
    """Relative paths of all files but the manifest, sorted."""
    found = []
    for root, _, names in os.walk(directory):
        found += [os.path.relpath(os.path.join(root, name), directory) for name in names]
    return sorted(name for name in found if name != MANIFEST and not name.endswith(atomic.PARTIAL))


def _publish(directory: str, files: dict) -> None:
    with atomic.replacing(os.path.join(directory, MANIFEST)) as file:
        file.write(json.dumps({"schema": SCHEMA, "files": files}, indent=1).encode())


def _read(directory: str) -> tuple[dict[str, dict], str]:
    """({file: {"bytes", "sha256"}}, "") of a manifest, or ({}, why it says nothing)."""
    path = os.path.join(directory, MANIFEST)
    if not os.path.isfile(path):
        return {}, "it has no manifest (its save did not finish)"
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
        schema, files = manifest["schema"], dict(manifest["files"])
        for entry in files.values():
            _ = entry["bytes"] + 0, entry["sha256"] + ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return {}, f"its manifest is unreadable ({type(error).__name__})"
    if schema != SCHEMA:
        return {}, f"its manifest has schema {schema}, this version reads {SCHEMA}"
    return files, ""


def write_manifest(directory: str, known: Mapping[str, dict] | None = None) -> int:
    """Hashes every file below `directory`, publishes the manifest by rename; returns the bytes.

    What is `known` (`entries` of other processes) is not hashed again. Raises OSError for such a
    file that is not there.
    """
    known, names = known or {}, _files(directory)
    unseen = sorted({*known} - {*names})
    if unseen:
        raise OSError(f"{unseen[0]}, which another process wrote, is not in {directory}")
    files = {**known, **_entries(directory, [name for name in names if name not in known])}
    _publish(directory, files)
    return sum(entry["bytes"] for entry in files.values())


def entries_below(directory: str, subdirectory: str) -> dict[str, dict]:
    """{file: {"bytes", "sha256"}} of the files below `*/subdirectory`, hashed and on the disk."""
    names = [n for n in _files(directory) if n.split(os.sep)[1:2] == [subdirectory]]
    return _entries(directory, names)


def _entries(directory: str, names: Collection[str]) -> dict[str, dict]:
    paths = [os.path.join(directory, name) for name in names]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(_sync_and_hash, paths))
    return {
        name: {"bytes": os.path.getsize(path), "sha256": sha256}
        for name, path, sha256 in zip(names, paths, hashes, strict=True)
    }


def vouch(directory: str, name: str) -> None:
    """Puts a file that was written just now into the manifest of its directory; where there is
    none that can be read, with everything that is there."""
    files, reason = _read(directory)
    names = _files(directory) if reason else [name]
    _publish(directory, files | _entries(directory, names))


def names(directory: str, name: str) -> bool:
    """Whether the manifest of a directory has a file of this name."""
    return name in _read(directory)[0]


def forget(directory: str, subdirectory: str) -> None:
    """Takes the files of a subdirectory out of the manifest, so that they may be removed."""
    files, reason = _read(directory)
    if reason:
        return  # it is no valid step, which whoever reads it finds out
    prefix = subdirectory + os.sep
    _publish(directory, {n: entry for n, entry in files.items() if not n.startswith(prefix)})


def digest(directory: str, subdirectory: str) -> str:
    """Start of the SHA-256 of what the manifest says of a subdirectory; "" without a manifest."""
    files, reason = _read(directory)
    if reason:
        return ""
    prefix = subdirectory + os.sep
    found = sorted((name, files[name]["sha256"]) for name in files if name.startswith(prefix))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:12]


def has(directory: str, subdirectory: str) -> bool:
    """Whether the manifest of a directory has files of a subdirectory."""
    prefix = subdirectory + os.sep
    return any(name.startswith(prefix) for name in _read(directory)[0])


def is_committed(directory: str) -> bool:
    """Whether the save of this step was finished; says nothing about its bytes."""
    return os.path.isfile(os.path.join(directory, MANIFEST))


def fault(directory: str, *, only: str = "") -> str:
    """Why the step in `directory`, or `only` one file, is invalid; "" when every byte is as it was
    written."""
    files, reason = _read(directory)
    if reason:
        return reason
    if only and only not in files:
        return f"file {only} is not in its manifest"
    names = [only] if only else files
    expected = {name: (files[name]["bytes"], files[name]["sha256"]) for name in names}
    try:
        for name, (size, _) in expected.items():
            path = os.path.join(directory, name)
            if not os.path.isfile(path):
                return f"file {name} is missing"
            if os.path.getsize(path) != size:
                return f"file {name} has {os.path.getsize(path)} bytes, its manifest says {size}"
        with contextlib.ExitStack() as stack:
            at_once = map  # threads for one small file would take longer than it does
            if len(expected) > 1:
                pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
                at_once = stack.enter_context(pool).map
            hashes = at_once(lambda name: digests.sha256(os.path.join(directory, name)), expected)
            for (name, (_, sha256)), got in zip(expected.items(), hashes, strict=True):
                if got != sha256:
                    return f"file {name} does not have the SHA-256 in its manifest (corrupted)"
    except OSError as error:
        return f"file {error.filename} cannot be read ({error.strerror})"
    return ""
