"""SHA-256 of files; those that nothing has touched since are not read a second time.

What was read is remembered in the user's cache directory, by size, mtime, ctime and inode: a file
cannot be written without one of them changing, whatever a program does to its mtime. A disk that
loses bits by itself changes none of them: for that there is mypt inspect DIR --verify.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from data_pipeline import atomic

_BLOCK_BYTES = 1 << 22
# Two writes in one tick of a file system's clock leave the same times: FAT ticks every two seconds.
_TICK_NS = 2_000_000_000


def sha256(path: str | os.PathLike) -> str:
    """Reads a file in blocks, so that its size does not matter; lets other threads run."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class Memory:
    """Digests of the files of one directory, by name; a file `name` may be several on the disk.

    A memory that cannot be read or written is an empty one: everything is read again.
    """

    def __init__(self, directory: str | os.PathLike):
        self._directory = os.path.realpath(directory)
        name = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:24]
        cache = _cache_directory()
        self._path = cache / "digests" / f"{name}.json" if cache else None
        self._known = _load(self._path)

    def recall(self, name: str, paths: Sequence[str]) -> str:
        """The digest of untouched files, "" where they have to be read."""
        known = self._known.get(name)
        return known["sha256"] if known and known["states"] == states(paths) else ""

    def learn(self, name: str, paths: Sequence[str], compute: Callable[[], str]) -> str:
        """The digest that `compute` reads off the files, remembered unless they are just being
        written. Raises OSError."""
        begin, before = time.time_ns(), states(paths)
        found = compute()
        newest = max((max(state[1:3]) for state in before), default=0)
        if before == states(paths) and newest < begin - _TICK_NS:
            self._known[name] = {"sha256": found, "states": before}
        return found

    def save(self) -> None:
        """Keeps what was learned for later processes."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic.replacing(self._path, writer=uuid.uuid4().hex) as file:
                content = {"directory": self._directory, "files": self._known}
                file.write(json.dumps(content, indent=1).encode("utf-8", "surrogateescape"))


def states(paths: Sequence[str]) -> list[list[int]]:
    """[size, mtime, ctime, inode] of each."""
    found = map(os.stat, paths)
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in found]


def _load(path: Path | None) -> dict[str, dict]:
    try:
        files = json.loads(path.read_bytes())["files"] if path else {}
        return {
            name: {key: known[key] for key in ("sha256", "states")} for name, known in files.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _cache_directory() -> Path | None:
    """Where programs of this user keep what can be made again; None for a user without a home."""
    own = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    place = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or own)
    return Path(place) / "mypt_jax" if os.path.isabs(place) else None
