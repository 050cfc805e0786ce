"""Files opened by their last suffix: what compressed them, and what is wrong with them."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipeline import document

_BLOCK_BYTES = 1 << 20
# Decompressed in one go; four bytes of Zstandard can stand for 128 KiB, so this for 64 MiB.
_COMPRESSED_BYTES = 1 << 11
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")


def stripped(name: str) -> str:
    """Returns a file's name without the suffix of its compression."""
    head, dot, suffix = name.rpartition(".")
    return head if head and f"{dot}{suffix.lower()}" in SUFFIXES else name


@contextlib.contextmanager
def opened(path: Path, *, name: str) -> Iterator[BinaryIO]:
    """Opens a file, decompressed by its suffix, upper case or lower.

    Raises ReadError: "truncated" for damaged compression, also while the file is being read,
    "unreadable" for what the system does not open. Both are told of `name`.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            yield stack.enter_context(_decompressed(raw, path.suffix.lower()))
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise document.ReadError("unreadable", f"{name} cannot be read: {error}") from error
        message = f"{name} is truncated or damaged ({error}): get it again"
        raise document.ReadError("truncated", message) from error


def _decompressed(raw: BinaryIO, suffix: str):
    if suffix == ".gz":
        return gzip.open(raw)
    if suffix == ".bz2":
        return bz2.open(raw)
    if suffix == ".xz":
        return lzma.open(raw)
    if suffix in (".zst", ".zstd"):
        return zstandard_reader(raw)
    return contextlib.nullcontext(raw)


def zstandard_reader(file: BinaryIO) -> io.BufferedReader:
    """Returns the decompressed bytes of a file; raises EOFError where it is truncated or damaged.

    Closing it leaves `file` open.
    """
    return io.BufferedReader(_Zstandard(file), _BLOCK_BYTES)


class _Zstandard(io.RawIOBase):
    """A compressed file as raw bytes; its frames follow one another where files were concatenated.

    zstandard's own reader takes a truncated file for a whole one.
    """

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file
        self._frame = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready and self._decompress():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decompress(self) -> bool:
        """Makes more bytes ready, perhaps none; returns False at the end of the file."""
        import zstandard

        block = b""
        if self._frame is not None and self._frame.eof:
            block, self._frame = self._frame.unused_data, None
        block = block or self._file.read(_COMPRESSED_BYTES)
        if not block:
            if self._frame is not None:
                raise EOFError("it ends inside a frame")
            return False
        if self._frame is None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(block))
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from None
        return True
