"""EPUB: zipped pages of HTML in the order of the book's spine -> one text.

No converter is needed beside the HTML reader; the archive is read within limits, as one of HTML.
"""

import io
import lzma
import posixpath
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element

from data_pipeline import document
from data_pipeline.readers import xmlsafe
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.markup import html

MAX_FILE_BYTES = 512 << 20  # pictures included
MAX_TEXT_BYTES = 256 << 20
_HEAD_ENDS = re.compile(r"</head\s*>", re.IGNORECASE)
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,  # a compression that zipfile does not know
)


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the book as one document.

    Raises ReadError: "encrypted_epub" where a key opens its pages, "broken_epub", "too_large".
    """
    data = document.read_bytes(stream, path=path, max_bytes=MAX_FILE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from _document(_Book(archive, path), path, account)
    except _DAMAGED as error:
        if isinstance(error, document.ReadError):
            raise
        raise document.ReadError("broken_epub", f"{path}: no whole EPUB ({error})") from error
    except RuntimeError as error:  # zipfile's word for a member that a password opens
        raise document.ReadError("encrypted_epub", f"{path}: {error}") from error


class _Book:
    """The members of an EPUB, of which only so much is unpacked as is asked for."""

    def __init__(self, archive: zipfile.ZipFile, path: str):
        self._archive, self._path = archive, path
        self._left = MAX_TEXT_BYTES
        self._names = frozenset(archive.namelist())
        container = self._xml("META-INF/container.xml", "rootfile")
        self._package = container[0].get("full-path", "") if container else ""
        found = self._xml(self._package, "package")
        if not found:
            raise document.ReadError("broken_epub", f"{path}: no description of the book")
        self._description = found[0]

    @property
    def title(self) -> str:
        titles = (each.text or "" for each in self._elements("title"))
        return " ".join(next(titles, "").split())

    def pages(self, account: Account) -> Iterator[str]:
        """Yields the HTML of each page, in the order of the book; tables of contents are none.

        Pages that are not there, or no HTML, are counted.
        """
        items = {each.get("id"): each for each in self._elements("item")}
        locked = {
            urllib.parse.unquote(each.get("URI", ""))
            for each in self._xml("META-INF/encryption.xml", "CipherReference")
        }
        for reference in self._elements("itemref"):
            item = items.get(reference.get("idref"))
            if item is None:
                account.note("missing_page", f"{self._path}: {reference.get('idref')}")
                continue
            if "nav" in item.get("properties", "").split():
                continue
            href = urllib.parse.unquote(item.get("href", ""))
            name = posixpath.normpath(posixpath.join(posixpath.dirname(self._package), href))
            if name in locked:
                raise document.ReadError("encrypted_epub", f"{self._path}: a key opens {name}")
            if name not in self._names:
                account.note("missing_page", f"{self._path}/{name}")
            elif "html" not in item.get("media-type", ""):
                account.note("page_no_html", f"{self._path}/{name}")
            else:
                data = self._read(name)
                encodings = html.encodings(data)
                yield document.decode(data, path=f"{self._path}/{name}", encodings=encodings)

    def _elements(self, name: str) -> Iterator[Element]:
        return (each for each in self._description.iter() if xmlsafe.local(each.tag) == name)

    def _xml(self, name: str, tag: str) -> list[Element]:
        if name not in self._names:
            return []
        stream = io.BytesIO(self._read(name))
        wanted = frozenset({tag})
        return list(xmlsafe.subtrees(stream, wanted=wanted, path=f"{self._path}/{name}"))

    def _read(self, name: str) -> bytes:
        with self._archive.open(name) as member:
            data = member.read(min(html.MAX_CHARS, self._left) + 1)
        self._left -= len(data)
        if len(data) > html.MAX_CHARS or self._left < 0:
            raise document.ReadError("too_large", f"{self._path}: {name} unpacks to too much")
        return data


def _document(book: _Book, path: str, account: Account) -> Iterator[document.Document]:
    raws, texts = [], []
    for page in book.pages(account):
        # Each page's own head has the book's title again.
        raw = _HEAD_ENDS.split(page, 1)[-1]
        raws.append(raw)
        texts.append(html.convert(raw, left_out=account.left_out))
    text, raw = "\n\n".join(filter(None, texts)), "\n".join(raws)
    account.read(html.unescaped(raw), text, where=path, pieces=lambda _: html.MARKUP(raw))
    if text:
        yield document.Document(id=path, text=text, path=path, title=book.title)
