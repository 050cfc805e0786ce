"""Text from streams of any size: decoding, line ends; errors say where.

`bad_text` says what happens to bytes that are not UTF-8, to NUL and to lone surrogates: `error`,
`replace` (by U+FFFD), or `cut`, which takes them away where a reader counts that. `text_blocks`
also knows `escape`: bytes become lone surrogates, by which a reader finds the record they are in.
"""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document

BAD_TEXT = ("error", "replace", "cut")
_BLOCK_BYTES = 1 << 20
# A line of JSON is one document in memory; longer ones are a mistake or belong into a text file.
MAX_LINE_BYTES = 64 << 20
_REMEDY = "leave it out, convert it with iconv, or pass --bad_text=replace"
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_blocks(stream: BinaryIO, *, path: str, bad_text: str) -> Iterator[str]:
    """Yields text in blocks, without byte order mark, line ends as LF: UTF-8, or UTF-16 where a
    mark says so."""
    # A mark of UTF-16 has two bytes.
    block = stream.read(max(2, _BLOCK_BYTES))
    encoding = "utf-16" if block.startswith(_WIDE_MARKS) else "utf-8"
    if bad_text == "escape" and encoding != "utf-8":
        bad_text = "error"
    decoder = codecs.getincrementaldecoder(encoding)(_handler(bad_text))
    offset, held, is_start = 0, "", True
    while True:
        # Bytes of a character that the block before began: the place of an error counts from them.
        pending = len(decoder.getstate()[0])
        # Before decoding: NUL is a valid character, and the surest sign of a file that is no text.
        if bad_text in ("error", "escape") and encoding == "utf-8":
            check_nul(block, path, offset)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise bad_bytes(path, offset - pending + error.start, encoding=encoding) from None
        if bad_text in ("error", "escape") and "\0" in text:
            raise document.ReadError(
                "undecodable", f"{path}: U+0000 in UTF-16, so it is binary or UTF-32: {_REMEDY}"
            )
        if is_start and text:  # which a short first block may not have given
            text, is_start = text.removeprefix("\ufeff"), False
        offset += len(block)
        text, held = held + text, ""
        # Its LF may begin the next block: two line ends would be made of one.
        if block and text.endswith("\r"):
            text, held = text[:-1], "\r"
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if "\0" in text:
            text = text.replace("\0", _substitute(bad_text))
        if text:
            yield text
        if not block:
            return
        block = stream.read(_BLOCK_BYTES)


def _handler(bad_text: str) -> str:
    return {
        "error": "strict",
        "escape": "surrogateescape",
        "replace": "replace",
        "cut": "ignore",
    }[bad_text]


def _substitute(bad_text: str) -> str:
    return "\ufffd" if bad_text == "replace" else ""


def check_nul(block: bytes, path: str, offset: int) -> None:
    """Raises ReadError where a NUL byte shows that the file is not text."""
    found = block.find(b"\0")
    if found >= 0:
        raise document.ReadError(
            "undecodable",
            f"{path}, byte {offset + found}: a NUL byte, so it is binary or UTF-16: {_REMEDY}",
        )


def bad_bytes(path: str, offset: int, *, encoding: str = "utf-8") -> document.ReadError:
    """The error for bytes that are not of the encoding."""
    what = {
        "utf-8": "UTF-8: convert the file (iconv -f ITS_ENCODING -t UTF-8)",
        "utf-16": "UTF-16: mend it",
    }
    return document.ReadError(
        "undecodable",
        f"{path}, byte {offset}: not {what[encoding]}, or pass --bad_text=replace",
    )


def lines(
    stream: BinaryIO, *, path: str, max_bytes: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """Yields (line number from 1, byte offset, line without its end), blank ones too."""
    max_bytes = max_bytes or MAX_LINE_BYTES
    number = offset = 0
    # One byte more than is allowed tells a long line from one that just fits.
    while line := stream.readline(max_bytes + 1):
        number += 1
        if len(line) > max_bytes:
            raise document.ReadError(
                "too_large",
                f"{path}, line {number} at byte {offset}: longer than {max_bytes >> 20} MiB: put "
                "its text into a .txt file",
            )
        if offset == 0:
            yield number, offset, line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
        else:
            yield number, offset, line.rstrip(b"\r\n")
        offset += len(line)


def decoded(line: bytes, *, path: str, offset: int, bad_text: str) -> str:
    """Returns a line as text; raises ReadError with the place of a byte that is not UTF-8."""
    try:
        return line.decode("utf-8", _handler(bad_text))
    except UnicodeDecodeError as error:
        raise bad_bytes(path, offset + error.start) from None


def clean(text: str, *, where: str, bad_text: str) -> str:
    """Returns a record's text with LF line ends, and without NUL and lone surrogates."""
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
        raise document.ReadError(
            "undecodable",
            f"{where}: U+{ord(text[at]):04X} at character {at}, which no text has: mend the "
            "record, or pass --bad_text=replace",
        )
    text = text.replace("\0", _substitute(bad_text))
    # Pairs of surrogates are joined to the character they mean, single ones replaced or cut.
    wide = text.encode("utf-16", "surrogatepass")
    return wide.decode("utf-16", "ignore" if bad_text == "cut" else "replace")
