"""MediaWiki XML dumps (Wikipedia), plain or bz2 -> one document per article, as a stream."""

import bz2
import html
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import xmlsafe
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.wikipedia import wikitext

# MediaWiki's own limit for a page is 2 MiB; a longer one is not a page.
MAX_PAGE_CHARS = 2 * 1024 * 1024
_FIELDS = frozenset({"title", "ns", "id", "text"})


class _Pages:
    """ElementTree target: keeps title, ns, id and text of one page at a time."""

    def __init__(self):
        self.done: list[dict[str, str]] = []
        self._page: dict[str, str] | None = None
        self._parents: list[str] = []
        self._parts: list[str] | None = None
        self._chars = 0

    def start(self, tag, attributes):
        name = xmlsafe.local(tag)
        if name == "page":
            self._page = {}
        elif self._page is not None:
            if name == "redirect":
                self._page["redirect"] = attributes.get("title", "")
            # <id> occurs in revision and contributor too: the page's own stands directly in it.
            elif name in _FIELDS and (name == "text" or self._parents[-1] == "page"):
                self._parts, self._chars = [], 0
        if len(self._parents) >= xmlsafe.MAX_DEPTH:
            raise document.ReadError("xml_deep", f"nested deeper than {xmlsafe.MAX_DEPTH}")
        self._parents.append(name)

    def data(self, text):
        if self._parts is not None and self._chars <= MAX_PAGE_CHARS:
            self._chars += len(text)
            self._parts.append(text)

    def end(self, tag):
        name = self._parents.pop()
        if self._page is None:
            return
        if name == "page":
            self.done.append(self._page)
            self._page = self._parts = None
        elif self._parts is not None and name in _FIELDS:
            if self._chars > MAX_PAGE_CHARS:
                self._page["too_large"] = name
                self._parts.clear()
            self._page[name] = "".join(self._parts)
            self._parts = None

    def close(self):
        return None


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the articles (namespace 0, no redirects) of a dump, cleaned; memory is one page.

    `stream` may be bz2-compressed, in one stream or many.
    Raises ReadError("truncated") for a cut-off bz2 file.
    """
    for page in pages(stream, path=path):
        title, source = page.get("title", ""), page.get("text", "")
        where = f"{path}#{page.get('id') or title}"
        raw = f"{title}\n{html.unescape(source)}"
        if not _is_article(page):
            kind = "redirects" if "redirect" in page else "other_namespaces"
            account.skip(kind, raw)
            continue
        text = wikitext.clean(source, account.left_out)
        if not text:
            kind = "page_too_large" if "too_large" in page else "page_without_text"
            account.note(kind, title)
            account.left_out("markup/titles", title)
        shown = f"{title}\n\n{text}" if text else ""
        account.read(raw, shown, where=where, pieces=wikitext.MARKUP)
        if shown:
            yield document.Document(id=where, text=shown, path=path, title=title.strip())


def _is_article(page: dict[str, str]) -> bool:
    return page.get("ns", "0").strip() == "0" and "redirect" not in page


def pages(stream: BinaryIO, *, path: str) -> Iterator[dict[str, str]]:
    """Yields {"title", "ns", "id", "text"} of every page in the dump, its wikitext as it stands."""
    target = _Pages()
    try:
        for _ in xmlsafe.feed(_decompressed(stream), target, path=path):
            done, target.done = target.done, []
            yield from done
    except (EOFError, OSError, zlib.error) as error:
        raise document.ReadError("truncated", f"{path}: {error}") from error


def _decompressed(stream: BinaryIO) -> xmlsafe.Readable:
    head = stream.read(3)
    joined = _Rejoined(head, stream)
    return bz2.BZ2File(joined) if head == b"BZh" else joined


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already read: dumps arrive through pipes as well."""

    def __init__(self, head: bytes, stream: BinaryIO):
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head[:size] if size >= 0 else self._head, b""
            return head
        return self._stream.read(size)

    def readable(self) -> bool:
        return True
