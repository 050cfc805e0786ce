"""HTML -> plain text with the standard library's parser, for pages of a known layout.

Elements are skipped by their name or by a whole word of their class: "ad" never meets "heading".
"""

import html
import html.parser
import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document

MAX_CHARS = 16 * 1024 * 1024
MAX_DEPTH = 100
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_SKIPPED = frozenset(
    """script style noscript template svg math head nav footer aside form button select iframe
    object canvas video audio""".split()
)
_SKIPPED_ROLES = frozenset("navigation banner contentinfo search complementary".split())
_SKIPPED_CLASSES = frozenset(
    """nav navbar navigation sidebar footer header-nav breadcrumb breadcrumbs toc headerlink
    cookie-banner skip-link sphinxsidebar related noprint menu""".split()
)
_BLOCKS = frozenset(
    """address article blockquote body dd div dl dt fieldset figure figcaption h1 h2 h3 h4 h5 h6
    header hgroup hr li main ol p pre section table tbody td tfoot th thead tr ul details summary
    caption center dir menu html""".split()
)
# An end tag is optional for these; the next of the same kind closes them.
_SELF_CLOSING = frozenset("p li dt dd td th tr option".split())
_CLOSES = {"td": ("td", "th"), "th": ("td", "th"), "dt": ("dt", "dd"), "dd": ("dt", "dd")}
_BOUNDARY = frozenset("ul ol dl table div section td th li".split())
_TABLE_BOUNDARY = {
    "tr": frozenset({"table"}),
    "td": frozenset({"tr", "table"}),
    "th": frozenset({"tr", "table"}),
}
# ISO-8859-1 means Windows-1252 in HTML (WHATWG Encoding 4.2), which is tried anyway.
_CHARSET = re.compile(
    rb"""<meta[^>]{1,200}charset\s*=\s*["']?\s*(iso-8859-(?:[2-8]|10|13|14|15|16)|windows-125[0-8]"""
    rb"""|koi8-[ru]|shift_jis|euc-(?:jp|kr)|gbk|gb2312|gb18030|big5)\b""",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[ \t\r\f\v\n]+")


def read(stream: BinaryIO, *, path: str, skip: tuple[str, ...] = ()) -> Iterator[document.Document]:
    """Yields the page as one document, without elements of the classes in `skip`."""
    data = document.read_bytes(stream, path=path, max_bytes=MAX_CHARS)
    raw = document.decode(data, path=path, encodings=_encodings(data))
    text = convert(raw, skip=skip)
    if text:
        yield document.Document(id=path, text=text, path=path)


def _encodings(data: bytes) -> tuple[str, ...]:
    """What to try, in order: pages declare ISO-8859-1 and hold UTF-8, so that stays first."""
    declared = _CHARSET.search(data, 0, 4096)
    if declared is None:
        return document.WESTERN
    return ("utf-8", declared.group(1).decode("ascii"), "cp1252")


def convert(raw: str, *, fragment: bool = False, skip: tuple[str, ...] = ()) -> str:
    """Returns the text of a page, or of a fragment, blocks separated by a blank line."""
    if fragment and "<" not in raw:
        # Most documentation comments: nothing to parse.
        blocks = re.split(r"\n[ \t]*\n", html.unescape(raw))
        return "\n\n".join(b for b in (_SPACES.sub(" ", b).strip() for b in blocks) if b)
    extractor = _Extractor(skip)
    extractor.feed(raw)
    extractor.close()
    return extractor.text()


class _Extractor(html.parser.HTMLParser):
    def __init__(self, skip: tuple[str, ...]):
        super().__init__(convert_charrefs=True)
        self._skipped_classes = _SKIPPED_CLASSES.union(skip)
        self._blocks: list[str] = []
        self._current: list[str] = []
        self._open: list[tuple[str, bool]] = []  # element, whether it is skipped
        self._skipping = 0
        self._pre = 0
        self._lead = ""
        self._cells: list[str] | None = None

    def text(self) -> str:
        self._flush()
        return "\n\n".join(self._blocks)

    def handle_starttag(self, tag, attributes):
        if tag in _VOID:
            # A void element is never open: in a skipped region it must not swallow the page.
            if tag == "br" and not self._skipping:
                self._current.append("\n" if self._pre else "\x00")
            elif tag == "hr":
                self._flush()
            return
        if tag in _SELF_CLOSING:
            self._close_same(tag)
        if tag in _BLOCKS and not self._skipping:
            self._start_block(tag)
        skipped = self._is_skipped(tag, attributes)
        if tag == "sup" and not self._skipping:
            self._current.append("^")
        # Deeper elements are not remembered, but for a while those that hide their text.
        hidden = skipped or self._skipping
        if len(self._open) < (2 * MAX_DEPTH if hidden else MAX_DEPTH):
            self._open.append((tag, skipped))
            self._skipping += skipped

    def handle_startendtag(self, tag, attributes):
        if tag in _VOID:
            self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        # Nearly always the innermost element; an end without a beginning is ignored.
        is_innermost = self._open and self._open[-1][0] == tag
        if not is_innermost and not any(name == tag for name, _ in self._open):
            return
        while self._open:
            name, skipped = self._open.pop()
            self._skipping -= skipped
            if not self._skipping and name in _BLOCKS:
                self._end_block(name)
            if name == tag:
                return

    def handle_data(self, data):
        if not self._skipping:
            self._current.append(data if self._pre else _SPACES.sub(" ", data))

    def _is_skipped(self, tag, attributes) -> bool:
        if tag in _SKIPPED:
            return True
        for name, value in attributes:
            if name == "role" and (value or "").lower() in _SKIPPED_ROLES:
                return True
            if name == "class" and value and tag not in ("body", "html", "main"):
                if not self._skipped_classes.isdisjoint(value.lower().split()):
                    return True
        return False

    def updatepos(self, i, j):
        return j  # nobody asks for line numbers, and counting them is a tenth of the time

    def _close_same(self, tag):
        """<li> closes an open <li> of the same list; a list inside of it is a boundary."""
        kind = _CLOSES.get(tag, (tag,))
        boundary = _TABLE_BOUNDARY.get(tag, _BOUNDARY)
        for name, _ in reversed(self._open):
            if name in kind:
                self.handle_endtag(name)
                return
            if name in boundary:
                return

    def _start_block(self, tag):
        if tag == "tr":
            self._flush()
            self._cells = []
        elif tag in ("td", "th"):
            self._flush_cell()
        elif self._cells is not None:
            # Blocks in a cell of a table stay on the row's line.
            self._current.append(" ")
        else:
            self._flush()
            if tag == "li":
                self._lead = "- "
        if tag == "pre":
            self._pre += 1

    def _end_block(self, tag):
        if tag == "pre":
            self._flush()
            self._pre = max(0, self._pre - 1)
        elif tag in ("td", "th"):
            self._flush_cell()
        elif tag == "tr":
            self._flush_cell()
            cells, self._cells = self._cells or [], None
            if any(cells):
                self._add(" | ".join(cells), glued=bool(self._blocks) and self._in_table)
                self._in_table = True
        elif tag == "table":
            self._in_table = False
        elif self._cells is None:
            self._flush()
            if tag == "li":
                self._lead = ""

    _in_table = False

    def _flush_cell(self):
        if self._cells is not None and self._current:
            text = " ".join("".join(self._current).replace("\x00", " ").split())
            self._current.clear()
            if text:
                self._cells.append(text)

    def _flush(self):
        raw = "".join(self._current)
        self._current.clear()
        if self._pre:
            text = "\n".join(line.rstrip() for line in raw.strip("\n").split("\n"))
        else:
            lines = [line.strip() for line in _SPACES.sub(" ", raw).split("\x00")]
            text = "\n".join(line for line in lines if line)
        if text.strip():
            lead, self._lead = self._lead, ""
            glued = bool(lead and self._blocks and self._blocks[-1].startswith("- "))
            self._add(lead + text, glued=glued)

    def _add(self, text: str, *, glued: bool):
        if glued:
            self._blocks[-1] += "\n" + text
        else:
            self._blocks.append(text)
