"""Unpacks tar and zip archives: regular files only, below the target, within limits."""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from data_pipeline import errors

MAX_FILES = 1_000_000
_CHUNK_BYTES = 1 << 20


def unpack(archive: Path, target: Path, *, max_bytes: int) -> int:
    """Unpacks into the new directory `target`; returns the number of files.

    Raises UserError for members outside of target, more than `max_bytes` in all (a bomb shows
    its size only when read), too many files, or a damaged archive. Links and devices are left out.
    """
    budget = _Budget(archive.name, target, max_bytes)
    target.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _zip(archive, budget)
        elif tarfile.is_tarfile(archive):
            _tar(archive, budget)
        else:
            raise errors.UserError(f"{archive.name}: neither tar nor zip, wanted an archive")
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        RuntimeError,  # an encrypted zip
        NotImplementedError,  # a compression that zipfile does not know
    ) as error:
        raise errors.UserError(f"{archive.name}: damaged archive ({error})") from error
    return budget.files


class _Budget:
    def __init__(self, name: str, target: Path, max_bytes: int):
        self.name, self.target, self.left = name, target, max_bytes
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

    def write(self, stream: BinaryIO, path: Path) -> None:
        """Copies a member's content within the limit."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as out:
            while chunk := stream.read(_CHUNK_BYTES):
                self.left -= len(chunk)
                if self.left < 0:
                    raise errors.UserError(
                        f"{self.name}: unpacks to more than {self.max_bytes} bytes, the limit"
                    )
                out.write(chunk)


def _zip(archive: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            is_link = mode & 0o170000 == 0o120000
            path = budget.path(member.filename) if not member.is_dir() else None
            if path and not is_link:
                with opened.open(member) as stream:
                    budget.write(stream, path)


def _tar(archive: Path, budget: _Budget) -> None:
    with tarfile.open(archive, "r|*") as opened:
        for member in opened:
            if member.isreg():
                budget.write(opened.extractfile(member), budget.path(member.name))
