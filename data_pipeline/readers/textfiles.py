"""Text from files of any size: decoding, line ends, compression; errors say where."""

import bz2
import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipeline import errors

_BLOCK_BYTES = 1 << 20
# Decompressed in one go; four bytes of Zstandard can stand for 128 KiB, so this for 64 MiB.
_COMPRESSED_BYTES = 1 << 11
# A line of JSON is one document in memory; longer ones are a mistake or belong into a text file.
MAX_LINE_BYTES = 64 << 20
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, decompressing by its last suffix; failures name the file."""
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            if path.suffix == ".gz":
                yield stack.enter_context(gzip.open(raw))
            elif path.suffix == ".bz2":
                yield stack.enter_context(bz2.open(raw))
            elif path.suffix in (".zst", ".zstd"):
                yield stack.enter_context(zstandard_reader(raw))
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise errors.UserError(f"{path} is truncated or damaged ({error}): get it again") from None
    except OSError as error:
        raise errors.UserError(f"{path} cannot be read: {error}") from None


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


def text_blocks(path: Path, *, bad_text: str) -> Iterator[str]:
    """Yields the text of a UTF-8 file in blocks, without byte order mark, line ends as LF.

    `bad_text` is `error` or `replace`: what happens to bytes that are not UTF-8 and to NUL.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict" if bad_text == "error" else "replace")
    offset, held = 0, ""
    with open_bytes(path) as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            if offset == 0 and block.startswith(_WIDE_MARKS):
                raise errors.UserError(
                    f"{path} is UTF-16: convert it first, iconv -f UTF-16 -t UTF-8"
                )
            pending = len(decoder.getstate()[0])
            if bad_text == "error":
                check_nul(block, path, offset)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise bad_bytes(path, offset - pending + error.start) from None
            if offset == 0:
                text = text.removeprefix("\ufeff")
            offset += len(block)
            text, held = held + text, ""
            if block and text.endswith("\r"):
                text, held = text[:-1], "\r"
            if "\r" in text:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            if bad_text != "error" and "\0" in text:
                text = text.replace("\0", "\ufffd")
            if text:
                yield text
            if not block:
                return


def check_nul(block: bytes, path: Path, offset: int) -> None:
    """Raises UserError where a NUL byte shows that the file is not text."""
    found = block.find(b"\0")
    if found >= 0:
        raise errors.UserError(
            f"{path}, byte {offset + found}: a NUL byte, so it is binary or UTF-16: leave it out, "
            "convert it with iconv, or pass --bad_text=replace"
        )


def bad_bytes(path: Path, offset: int) -> errors.UserError:
    """The error for bytes that are not UTF-8."""
    return errors.UserError(
        f"{path}, byte {offset}: not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8), or pass "
        "--bad_text=replace"
    )


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yields (line number from 1, byte offset, line without its end) of a file, blank ones too."""
    with open_bytes(path) as file:
        number = offset = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise errors.UserError(
                    f"{path}, line {number} at byte {offset}: longer than "
                    f"{MAX_LINE_BYTES >> 20} MiB: put its text into a .txt file"
                )
            if offset == 0:
                yield number, offset, line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
            else:
                yield number, offset, line.rstrip(b"\r\n")
            offset += len(line)


def clean(text: str, *, where: str, bad_text: str) -> str:
    """Returns a record's text with LF line ends; NUL and lone surrogates fail or are replaced."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    wrong = "\0" in text
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            wrong = True
    if not wrong:
        return text
    if bad_text == "error":
        at = next(i for i, c in enumerate(text) if c == "\0" or 0xD800 <= ord(c) <= 0xDFFF)
        raise errors.UserError(
            f"{where}: U+{ord(text[at]):04X} at character {at}, which no text has: mend the "
            "record, or pass --bad_text=replace"
        )
    text = text.replace("\0", "\ufffd")
    # Pairs of surrogates are joined to the character they mean, single ones replaced.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
