"""The document: one text with its origin, and the error of a file that cannot be read."""

import codecs
import dataclasses
import re
from collections.abc import Callable
from typing import BinaryIO

from data_pipeline import errors, western

MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Document:
    """One text and where it comes from; readers fill `id` and `text`, the build the rest.

    `kind` is the format that it was read from, like markdown, of code with its language, like
    code/python; `title` is empty where the format names none.

    `split_key` is the name of the document's near-duplicate cluster: documents that share it must
    land on the same side of a train/val split.
    """

    id: str
    text: str
    source: str = ""
    role: str = ""
    lang: str = ""
    licence: str = ""
    origin: str = ""
    path: str = ""
    split_key: str = ""
    kind: str = ""
    title: str = ""


# Told of what a reader leaves out of a file that it otherwise reads: its kind and an example.
LeftOut = Callable[[str, str], None]


def uncounted(kind: str, example: str) -> None:
    """A LeftOut for callers that make no report."""


class ReadError(errors.UserError):
    """A file that a reader refuses; `kind` is the short name under which a report counts it."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple:
        """From one process to another: an exception is made again from its message alone."""
        return type(self), (self.kind, str(self))


def refused(error: ReadError) -> None:
    """What becomes of a bad record where nobody counts them: its file is refused."""
    raise error


# Told of a record of a file that is left out, while the others are read.
OnBad = Callable[[ReadError], None]
# What files without a declared encoding are written in.
WESTERN = ("utf-8", "cp1252")
# WHATWG's windows-1252: Python's table, and the five bytes that it leaves open as they are.
_CP1252 = {
    byte: bytes([byte]).decode("cp1252")
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


# Not utf-7, punycode, rot13 and the like, which are no text to Python or not only that.
_CHARSET = re.compile(
    r"(?:us-)?ascii|utf[-_]?(?:8|16|32).*|iso[-_]?(?:8859|2022).*|latin-?\d+|windows-.*|cp-?\d+"
    r"|koi8[-_].*|gb\w+|big5.*|shift.?jis|s-?jis|euc[-_].*|mac.*|tis-?620",
    re.IGNORECASE,
)

# What is declared -> what is written, of which it is a part (WHATWG Encoding 4.2).
_WIDER = {
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}

# How a file names its encoding: in its first lines (Python, Ruby, Emacs, Vim), as CSS or LaTeX.
_DECLARED = re.compile(
    rb"""\A(?:.*\n){0,4}?.*?coding[:=][ \t]*(?P<line>[\w.-]+)|\A@charset[ ]["'](?P<css>[\w.-]+)"""
    rb"""|^[ \t]*\\usepackage\[(?P<latex>[\w.-]+)\]\{inputenc\}""",
    re.MULTILINE,
)
_HEAD_BYTES = 1 << 12


def charset(name: str) -> str:
    """Returns Python's name of an encoding of text, "" for what is none or unknown."""
    try:
        found = codecs.lookup(name).name if _CHARSET.fullmatch(name) else ""
    except LookupError:
        return ""
    return _WIDER.get(found, found)


def encodings_of(declared: str) -> tuple[str, ...]:
    """What to try for a file that names its encoding in ASCII, in order.

    Much is UTF-8 that says otherwise, and ISO-8859-1 means Windows-1252 (WHATWG Encoding 4.2).
    """
    found = charset(declared)
    if found in ("", "ascii", "iso8859-1") or found.startswith("utf"):
        return WESTERN
    return ("utf-8", found, "cp1252")


def encodings_in(data: bytes) -> tuple[str, ...]:
    """encodings_of what a file of code or of a man page says in its head."""
    found = _DECLARED.search(data, 0, _HEAD_BYTES)
    return encodings_of(found[found.lastgroup or 0].decode("ascii") if found else "")


def read_bytes(stream: BinaryIO, *, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Returns the whole stream; raises ReadError("too_large") above max_bytes."""
    # One byte more than is allowed tells, without reading what a bomb unpacks to.
    data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ReadError("too_large", f"{path}: more than {max_bytes} bytes")
    return data


def decode(data: bytes, *, path: str, encodings: tuple[str, ...] = ("utf-8",)) -> str:
    """Returns the text with LF line ends and without a byte order mark.

    The first of `encodings` that fits is used; raises ReadError("undecodable") if none does. No
    byte contradicts cp1252: behind others it fits where the letters are those of its languages.
    NUL never occurs in text, so its presence means a binary file.
    """
    # A byte order mark is surer than what is declared: no other text begins so.
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    for encoding in encodings:
        try:
            if encoding == "cp1252":  # by our table: Python's refuses five bytes, and the file
                text = data.decode("latin-1").translate(_CP1252)
                if encoding != encodings[0] and not western.is_likely(text):
                    continue
            else:
                text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    tried = " or ".join(encodings)
    raise ReadError(
        "undecodable", f"{path}: not text in {tried}: convert it (iconv -f ITS_ENCODING -t UTF-8)"
    )


def read_text(
    stream: BinaryIO,
    *,
    path: str,
    encodings: tuple[str, ...] = ("utf-8",),
    max_bytes: int = MAX_FILE_BYTES,
) -> str:
    """read_bytes, then decode."""
    return decode(
        read_bytes(stream, path=path, max_bytes=max_bytes), path=path, encodings=encodings
    )
