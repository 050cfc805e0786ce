"""Files that a page takes in, read below the source's root and nowhere else."""

import os
import posixpath
import stat
from collections.abc import Callable
from pathlib import Path

from data_pipeline import document

MAX_FILE_BYTES = 1024 * 1024
MAX_PAGE_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 10


class NotIncludedError(Exception):
    """A file that is not taken in; its text is the kind under which a report counts it."""


class Includes:
    """What one page may take in.

    `is_document` tells of files that the source reads anyway: they are not read twice. `seen` gets
    each file that was asked for, with its size and date, or None where there is none.
    """

    def __init__(
        self,
        root: Path | None,
        page: str,
        *,
        is_document: Callable[[str], bool] = lambda name: False,
        seen: dict[str, list[int] | None] | None = None,
    ):
        self.page = page
        self._root, self._is_document = root, is_document
        self._seen = {} if seen is None else seen
        self._left = MAX_PAGE_BYTES

    def text(self, target: str, *, beside: str = "") -> tuple[str, str]:
        """Returns (text, its name below the root) of a file named relative to the file `beside`.

        A target that begins with a slash is looked for in every directory above the page, the
        nearest first. Raises NotIncludedError: include_missing, include_refused (outside of the
        root, a link, no file), include_too_large, include_undecodable, include_of_document.
        """
        base = posixpath.dirname(beside or self.page)
        names = [posixpath.normpath(posixpath.join(base, target))]
        if target.startswith("/"):
            above = [base, *_above(base)]
            names = [posixpath.normpath(posixpath.join(each, target.lstrip("/"))) for each in above]
        error = NotIncludedError("include_missing")
        for name in names:
            try:
                return self._read(name), name
            except NotIncludedError as found:
                error = found if str(found) != "include_missing" else error
        raise error

    def _read(self, name: str) -> str:
        parts = name.split("/")
        if self._root is None or not name.strip("."):
            raise NotIncludedError("include_missing")
        if ".." in parts or "" in parts or "\0" in name:
            raise NotIncludedError("include_refused")
        if self._is_document(name):
            raise NotIncludedError("include_of_document")
        self._seen.setdefault(name, None)
        try:
            descriptor = _open_below(self._root, parts)
        except FileNotFoundError:
            raise NotIncludedError("include_missing") from None
        except OSError:  # a link in place of a file or of a directory, no permission
            raise NotIncludedError("include_refused") from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise NotIncludedError("include_refused")
        with open(descriptor, "rb") as file:
            self._seen[name] = [status.st_size, status.st_mtime_ns]
            if status.st_size > min(MAX_FILE_BYTES, self._left):
                raise NotIncludedError("include_too_large")
            data = file.read(MAX_FILE_BYTES)
        self._left -= len(data)
        try:
            return document.decode(data, path=name, encodings=document.WESTERN)
        except document.ReadError:
            raise NotIncludedError("include_undecodable") from None


NOTHING = Includes(None, "")


def _above(directory: str) -> list[str]:
    found = []
    while directory:
        directory = posixpath.dirname(directory)
        found.append(directory)
    return found


def _open_below(root: Path, parts: list[str]) -> int:
    """Opens a file step by step, so that no link, whenever it appears, leads out of the root."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        # Not blocking: opening a pipe would wait for its other end.
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)
