"""The SHA-256 manifest of a checkpoint step: written last, checked before anything is restored.

Orbax restores flipped bits without a word, and lists an empty directory as a step. A step counts
only when its manifest is there and every file has the size and hash that it names.
"""

import concurrent.futures
import hashlib
import json
import os

SCHEMA = 1
MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 22
_THREADS = 8  # hashlib releases the GIL; more threads than this only wait for the disk


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sync_and_hash(path: str) -> str:
    """The manifest must not reach the disk before the files that it vouches for."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _sha256(path)


def _files(directory: str) -> list[str]:
    """Relative paths of all files but the manifest, sorted."""
    found = []
    for root, _, names in os.walk(directory):
        found += [os.path.relpath(os.path.join(root, name), directory) for name in names]
    return sorted(name for name in found if name not in (MANIFEST, f"{MANIFEST}.tmp"))


def _publish(directory: str, files: dict) -> None:
    temporary = os.path.join(directory, f"{MANIFEST}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"schema": SCHEMA, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, os.path.join(directory, MANIFEST))


def write_manifest(directory: str) -> int:
    """Hashes every file below `directory`, publishes the manifest by rename; returns the bytes."""
    names = _files(directory)
    paths = [os.path.join(directory, name) for name in names]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(_sync_and_hash, paths))
    files = {
        name: {"bytes": os.path.getsize(path), "sha256": sha256}
        for name, path, sha256 in zip(names, paths, hashes, strict=True)
    }
    _publish(directory, files)
    return sum(entry["bytes"] for entry in files.values())


def forget(directory: str, subdirectory: str) -> None:
    """Takes the files of a subdirectory out of the manifest, so that they may be removed."""
    with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
        files = json.load(file)["files"]
    prefix = subdirectory + os.sep
    kept = {name: entry for name, entry in files.items() if not name.startswith(prefix)}
    _publish(directory, kept)


def digest(directory: str, subdirectory: str) -> str:
    """Start of the SHA-256 of what the manifest says of a subdirectory; "" without a manifest."""
    if not is_committed(directory):
        return ""
    with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
        files = json.load(file)["files"]
    prefix = subdirectory + os.sep
    below = sorted((name, files[name]["sha256"]) for name in files if name.startswith(prefix))
    return hashlib.sha256(json.dumps(below).encode()).hexdigest()[:12]


def is_committed(directory: str) -> bool:
    """Whether the save of this step was finished; says nothing about its bytes."""
    return os.path.isfile(os.path.join(directory, MANIFEST))


def fault(directory: str) -> str:
    """Why the step in `directory` is invalid, or "" when every byte is as it was written."""
    manifest_path = os.path.join(directory, MANIFEST)
    if not os.path.isfile(manifest_path):
        return "it has no manifest (its save did not finish)"
    try:
        with open(manifest_path, encoding="utf-8") as file:
            manifest = json.load(file)
        schema, files = manifest["schema"], dict(manifest["files"])
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest is unreadable ({type(error).__name__})"
    if schema != SCHEMA:
        return f"its manifest has schema {schema}, this version reads {SCHEMA}"
    try:
        for name, (size, _) in expected.items():
            path = os.path.join(directory, name)
            if not os.path.isfile(path):
                return f"file {name} is missing"
            if os.path.getsize(path) != size:
                return f"file {name} has {os.path.getsize(path)} bytes, its manifest says {size}"
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            hashes = pool.map(lambda name: _sha256(os.path.join(directory, name)), expected)
            for (name, (_, sha256)), got in zip(expected.items(), hashes, strict=True):
                if got != sha256:
                    return f"file {name} does not have the SHA-256 in its manifest (corrupted)"
    except OSError as error:
        return f"file {error.filename} cannot be read ({error.strerror})"
    return ""
