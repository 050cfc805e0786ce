"""HTML -> plain text, for pages of a known layout or of any.

Elements are skipped by their name or by a whole word of their class: "ad" never meets "heading".
"""

import html
import html.parser
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.markup import html_tags, html_text

MAX_CHARS = 16 * 1024 * 1024
MAX_DEPTH = 100
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
# What is no text wherever it stands, and what is none of a page's own text.
_UNSHOWN = frozenset("script style noscript template svg math iframe object canvas".split())
_ASIDE = frozenset("head nav footer aside form button select video audio".split())
_SKIPPED_ROLES = frozenset("navigation banner contentinfo search complementary".split())
_SKIPPED_CLASSES = frozenset(
    """nav navbar navigation footer header-nav breadcrumb breadcrumbs toc headerlink
    cookie-banner skip-link sphinxsidebar related noprint menu""".split()
)
# Asides that are text of the page: docutils writes its topics and footnotes as such.
_TEXT_CLASSES = frozenset("topic footnote footnote-list citation admonition sidebar note".split())
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
    rb"""<(?:meta[^>]{1,200}charset|\?xml[^>]{1,200}encoding)\s*=\s*["']?\s*([\w.-]+)""",
    re.IGNORECASE,
)
# What is no text in HTML: whose words may be missing from it.
MARKUP = Markup(comments=r"<!--(?:.|\n)*?-->", tags=r"<[!?/]?[A-Za-z][^<>]*>")
_SPACES = re.compile(r"[ \t\r\f\v\n]+")
_MAIN = {
    "main": re.compile(r"<main\b|<\w[^<>]*\srole=[\"']?main\b", re.IGNORECASE),
    "article": re.compile(r"<article\b", re.IGNORECASE),
}
_MIN_MAIN_CHARS = 200
_ATTRIBUTES = frozenset("alt class role start type value".split())  # those that are asked for
_OUTSIDE, _MAIN_ENDS = "outside_main", "end of main"


def read(
    stream: BinaryIO,
    *,
    path: str,
    skip: tuple[str, ...] = (),
    main_content: bool = False,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the page as one document, without elements of the classes in `skip`.

    With `main_content`, for pages of any layout, menus are left out, and all that stands outside
    of the one element of a page that says it is the main one (<main>, role=main, <article>).
    """
    data = document.read_bytes(stream, path=path, max_bytes=MAX_CHARS)
    raw = document.decode(data, path=path, encodings=encodings(data))
    extractor, text = _Extractor(skip), ""
    if main_content and (main := _main_element(raw)):
        extractor = _told(raw, lambda: _Extractor(skip, main=main, cuts_menus=True))
        text = extractor.text()
    if len(text) < _MIN_MAIN_CHARS:  # a page whose main element is empty until a script fills it
        extractor = _told(raw, lambda: _Extractor(skip, cuts_menus=main_content))
        text = extractor.text()
    for reason, words in extractor.left_out:
        account.left_out(reason, words)
    account.read(unescaped(raw), text, where=path, pieces=lambda _: MARKUP(raw))
    if text:
        yield document.Document(id=path, text=text, path=path, title=extractor.title)


def unescaped(raw: str) -> str:
    """Returns the text with its entities as characters."""
    return html.unescape(raw) if "&" in raw else raw


def encodings(data: bytes) -> tuple[str, ...]:
    """What to try, in order: pages declare ISO-8859-1 and hold UTF-8, so that stays first."""
    declared = _CHARSET.search(data, 0, 4096)
    return document.encodings_of(declared.group(1).decode("latin-1") if declared else "")


def convert(
    raw: str,
    *,
    fragment: bool = False,
    skip: tuple[str, ...] = (),
    left_out: document.LeftOut = document.uncounted,
) -> str:
    """Returns the text of a page, blocks separated by a blank line, code marked.

    Of a `fragment` everything is text but what is never shown.
    """
    if fragment and "<" not in raw:
        # Most documentation comments: nothing to parse.
        blocks = re.split(r"\n[ \t]*\n", html.unescape(raw))
        return "\n\n".join(b for b in (_SPACES.sub(" ", b).strip() for b in blocks) if b)
    extractor = _told(raw, lambda: _Extractor(skip, is_fragment=fragment))
    text = extractor.text()
    for reason, words in extractor.left_out:
        left_out(reason, words)
    return text


def _main_element(raw: str) -> str:
    """The kind of element that holds a page's own text, where there is one such element only."""
    for name, pattern in _MAIN.items():
        if found := pattern.findall(raw):
            return name if len(found) == 1 else ""
    return ""


def _told(raw: str, make: Callable[[], "_Extractor"]) -> "_Extractor":
    """An extractor that was told of a page."""
    extractor = make()
    if html_tags.walk(raw, extractor, wanted=_ATTRIBUTES):
        return extractor
    extractor = make()
    parser = _Parser(extractor)
    parser.feed(raw)
    parser.close()
    return extractor


class _Parser(html.parser.HTMLParser):
    """The standard library's, for pages that are not written as nearly all are."""

    def __init__(self, handler: html_tags.Handler):
        super().__init__(convert_charrefs=True)
        self._handler = handler

    def handle_starttag(self, tag, attrs):
        self._handler.handle_starttag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self._handler.handle_startendtag(tag, attrs)

    def handle_endtag(self, tag):
        self._handler.handle_endtag(tag)

    def handle_data(self, data):
        self._handler.handle_data(data)

    def updatepos(self, i, j):
        return j  # nobody asks for line numbers, and counting them is a tenth of the time


class _Extractor:
    def __init__(
        self,
        skip: tuple[str, ...],
        *,
        is_fragment: bool = False,
        main: str = "",
        cuts_menus: bool = False,
    ):
        self._skipped = _UNSHOWN if is_fragment else _UNSHOWN | _ASIDE
        self._skipped_classes = frozenset(skip) if is_fragment else _SKIPPED_CLASSES.union(skip)
        self._is_fragment = is_fragment
        self.left_out: list[tuple[str, str]] = []
        self._writer = html_text.Writer(self._leave_out, cuts_menus=cuts_menus)
        self._open: list[tuple[str, str]] = []  # element, why it is skipped
        # Reasons, the outermost first; outside of the main element all is skipped.
        self._main = main
        self._skipping: list[str] = [_OUTSIDE] if main else []
        self._gone: dict[str, list[str]] = {}
        self._title: list[str] = []

    def _leave_out(self, reason: str, text: str) -> None:
        self.left_out.append((reason, text))

    @property
    def title(self) -> str:
        """What the page's head calls it."""
        return " ".join("".join(self._title).split())

    def text(self) -> str:
        """Returns the page's text, below its title where it has no heading of the first rank."""
        if self.title and not self._writer.has_title:
            return f"{self.title}\n\n{self._text()}".strip("\n")
        if self.title:
            self._gone.setdefault("head", []).append(self.title)
        return self._text()

    def _text(self) -> str:
        for reason, parts in self._gone.items():
            if text := " ".join(" ".join(parts).split()):
                self._leave_out(reason, text)
        return self._writer.text()

    def handle_starttag(self, tag, attrs):
        if tag in _VOID:
            # A void element is never open: in a skipped region it must not swallow the page.
            if not self._skipping:
                self._writer.void(tag, dict(attrs))
            return
        if tag in _SELF_CLOSING:
            self._close_same(tag)
        if self._skipping == [_OUTSIDE] and _is_main(self._main, tag, attrs):
            self._skipping.clear()
            self._open.append((tag, _MAIN_ENDS))
            return
        reason = self._reason(tag, attrs) if attrs or tag in self._skipped else ""
        # Deeper elements are not remembered, but for a while those that hide their text.
        is_hidden = bool(reason or self._skipping)
        is_remembered = len(self._open) < (2 * MAX_DEPTH if is_hidden else MAX_DEPTH)
        if not is_hidden:
            if tag in html_text.HEEDED:
                self._writer.start(tag, attrs, is_remembered=is_remembered)
        elif not self._skipping:
            self._writer.separate(tag)
        if is_remembered:
            self._open.append((tag, reason))
            if reason:
                self._skipping.append(reason)

    def handle_startendtag(self, tag, attrs):
        if tag in _VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        # Nearly always the innermost element; an end without a beginning is ignored.
        if self._open and self._open[-1] == (tag, "") and not self._skipping:
            self._open.pop()
            if tag in html_text.HEEDED:
                self._writer.end(tag)
            return
        if not any(name == tag for name, _ in self._open):
            return
        while self._open:
            name, reason = self._open.pop()
            if reason == _MAIN_ENDS:
                self._writer.separate(name)
                self._skipping = [_OUTSIDE]
            elif reason:
                self._skipping.pop()
                if not self._skipping:
                    self._writer.separate(name)
            elif not self._skipping:
                self._writer.end(name)
            if name == tag:
                return

    def handle_data(self, data):
        if not self._skipping:
            self._writer.data(data)
        elif self._open and self._open[-1][0] == "title" and "head" in self._skipping[:2]:
            self._title.append(data)
        else:
            # What is skipped anyway is so for its own reason.
            own = [reason for reason in self._skipping[:2] if reason != _OUTSIDE]
            self._gone.setdefault((own or [_OUTSIDE])[0], []).append(data)

    def _reason(self, tag, attributes) -> str:
        """Why an element is skipped; "" where it is not."""
        if tag in self._skipped and not (tag == "aside" and _is_text(attributes)):
            return tag
        for name, value in attributes:
            if name == "role" and not self._is_fragment:
                if (value or "").lower() in _SKIPPED_ROLES:
                    return value.lower()
            if name == "class" and value and tag not in ("body", "html", "main"):
                found = self._skipped_classes.intersection(value.lower().split())
                if found:
                    return min(found)
        return ""

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


def _is_main(main: str, tag: str, attributes) -> bool:
    return tag == main or (main == "main" and ("role", "main") in attributes)


def _is_text(attributes) -> bool:
    words = (value or "" for name, value in attributes if name == "class")
    return not _TEXT_CLASSES.isdisjoint(" ".join(words).lower().split())
