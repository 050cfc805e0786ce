"""Unpacks tar and zip archives: regular files only, below the target, within limits."""

import bz2
import contextlib
import datetime
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from data_pipeline import errors
from data_pipeline.readers import compression

MAX_FILES = 1_000_000
# What a member's headers may hold (long names, extended attributes): tarfile reads them whole.
MAX_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def _zstandard(path: Path, mode: Literal["rb"]) -> Iterator[IO[bytes]]:
    with open(path, mode) as file, compression.zstandard_reader(file) as stream:
        yield stream


# First bytes of a compressed tar -> what opens it.
_OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstandard,
}


def unpack(
    archive: Path,
    target: Path,
    *,
    max_bytes: int,
    left_out: Callable[[str], None] = lambda name: None,
) -> int:
    """Unpacks into the new directory `target`; returns the number of files.

    Raises UserError for members outside of target, more than `max_bytes` in all (a bomb shows
    its size only when read), too many files, or a damaged archive. `left_out` is told the names of
    links and devices.
    """
    budget = _Budget(archive.name, target, max_bytes, left_out)
    target.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _zip(archive, budget)
        else:
            _tar(archive, budget)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        RecursionError,  # a chain of tar headers
        RuntimeError,  # an encrypted zip
        NotImplementedError,  # a compression that zipfile does not know
    ) as error:
        raise errors.UserError(f"{archive.name}: damaged archive ({error})") from error
    return budget.files


class _Budget:
    def __init__(self, name: str, target: Path, max_bytes: int, left_out: Callable[[str], None]):
        self.name, self.target, self.left = name, target, max_bytes
        self.left_out = left_out
        self.max_bytes = max_bytes
        self.files = 0

    def path(self, member: str) -> Path:
        """Where a member goes; raises UserError if that is not below the target."""
        parts = PurePosixPath(member.replace("\\", "/")).parts
        if not parts or parts[0].startswith("/") or ".." in parts or ":" in parts[0]:
            raise errors.UserError(f"{self.name}: member {member!r} leaves the archive's directory")
        self.files += 1
        if self.files > MAX_FILES:
            raise errors.UserError(f"{self.name}: more than {MAX_FILES} files")
        return self.target.joinpath(*parts)

    def write(self, stream: IO[bytes], path: Path, changed_secs: float) -> None:
        """Copies a member's content within the limit, with the time of its last change."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            out = open(path, "wb")
        except OSError as error:
            # A file where a directory is needed, a name that is too long.
            member = path.relative_to(self.target).as_posix()
            shown = member if len(member) <= 100 else f"{member[:100]}..."
            raise errors.UserError(
                f"{self.name}: cannot unpack its member {shown} ({error.strerror})"
            ) from error
        with out:
            while chunk := stream.read(_CHUNK_BYTES):
                self.take(len(chunk))
                out.write(chunk)
        with contextlib.suppress(OSError, OverflowError):  # a time that the file system lacks
            os.utime(path, (changed_secs, changed_secs))

    def take(self, size: int) -> None:
        """Counts unpacked bytes; raises UserError above the limit."""
        self.left -= size
        if self.left < 0:
            raise errors.UserError(
                f"{self.name}: unpacks to more than {self.max_bytes} bytes, the limit"
            )


def _zip(archive: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            is_link = mode & 0o170000 == 0o120000
            path = budget.path(member.filename) if not member.is_dir() else None
            if path and is_link:
                budget.left_out(member.filename)
            elif path:
                with opened.open(member) as stream:
                    budget.write(stream, path, _changed_secs(member))


def _changed_secs(member: zipfile.ZipInfo) -> float:
    """A zip states local time, without a zone; 0 where it states none that there is."""
    try:
        return datetime.datetime(*member.date_time, tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return 0.0


def _tar(archive: Path, budget: _Budget) -> None:
    with open(archive, "rb") as raw:
        head = raw.read(6)
    opener = next((o for magic, o in _OPENERS.items() if head.startswith(magic)), open)
    with opener(archive, "rb") as stream:
        limited: Any = _Limited(stream, archive.name)
        try:
            opened = tarfile.open(fileobj=limited, mode="r|")
        except tarfile.ReadError as error:
            raise errors.UserError(
                f"{archive.name}: neither tar nor zip, or damaged ({error}); wanted an archive"
            ) from error
        with opened:
            for member in opened:
                # Also of what is left out: tarfile reads over it to get to the next header.
                limited.allow(member.size)
                content = opened.extractfile(member) if member.isreg() else None
                if content is not None:
                    budget.write(content, budget.path(member.name), member.mtime)
                else:
                    budget.take(member.size)
                    if not member.isdir():
                        budget.left_out(member.name)


class _Limited:
    """A stream of which no more can be read than was allowed beforehand."""

    def __init__(self, stream: Any, name: str):  # of any of _OPENERS
        self._stream, self._name = stream, name
        self._position, self._limit = 0, 0
        self.allow(0)

    def allow(self, size: int) -> None:
        self._limit = self._position + size + MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError as error:  # a damaged gzip or bzip2 stream
            raise tarfile.ReadError(str(error)) from error
        self._position += len(data)
        if self._position > self._limit:
            raise errors.UserError(
                f"{self._name}: a member's headers are above {MAX_HEADER_BYTES} bytes, the limit"
            )
        return data
