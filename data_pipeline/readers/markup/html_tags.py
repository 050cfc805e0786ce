"""The tags and the text of a page of HTML, in order, twice as fast as html.parser gives them.

One pattern finds the tags of a page that is written as nearly all are. Where one is not, this says
so, and the page is html.parser's: what it makes of such a page differs by version of Python.
"""

import html
import re
from typing import Protocol

_NAME = "[A-Za-z][A-Za-z0-9:-]*+"
# An unquoted value that ends with a slash may mean that the element has no content.
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|(?:/*+[\w.#%:?&;,+~-]++)++(?=[\s>]|\Z))"""
_ATTRIBUTE = rf"\s++[A-Za-z_][\w:.-]*+(?:\s*+=\s*+{_VALUE})?+"
_TAG = re.compile(
    rf"([^<]*+)<(?:({_NAME})((?:{_ATTRIBUTE})*+)\s*+(/?)>"
    rf"|/({_NAME})\s*+>"
    r"|!--(?!-?>)(?:[^-]++|-(?!-))*+-->"
    r"|![dD][oO][cC][tT][yY][pP][eE]\b[^<>]*+>|\?[^<>]*+>|()(?=[^A-Za-z/!?]))",
    re.ASCII,
)
_ATTRIBUTES = re.compile(
    rf"\s++([A-Za-z_][\w:.-]*+)(?:\s*+=\s*+({_VALUE}))?+",
    re.ASCII,
)
_ENDED = re.compile(r"&#?\w+;", re.ASCII)
# Elements of which all is text up to their end tag: by some versions of the parser, or by all.
_SCRIPTS = frozenset({"script", "style"})
_RAW = frozenset("xmp iframe noembed noframes".split())
_TEXTS = _SCRIPTS | {"title", "textarea"}
# Up to an end tag, without what could be markup or a character's name, raw text is text.
_PLAIN: dict[str, re.Pattern] = {
    name: re.compile(rf"[^<&]*+</{name}\s*+>", re.IGNORECASE) for name in _RAW
}
_SCRIPT_ENDS = {name: re.compile(rf"</{name}", re.IGNORECASE) for name in _SCRIPTS}

Attributes = list[tuple[str, str | None]]


class Handler(Protocol):
    """What is told of a page; html.parser.HTMLParser has the same methods."""

    def handle_starttag(self, tag: str, attrs: Attributes) -> None: ...
    def handle_startendtag(self, tag: str, attrs: Attributes) -> None: ...
    def handle_endtag(self, tag: str) -> None: ...
    def handle_data(self, data: str) -> None: ...


def walk(raw: str, handler: Handler, *, wanted: frozenset[str]) -> bool:
    """Tells a handler of all tags, with the `wanted` of their attributes, and of the text.

    Returns False where html.parser has to read the page: the handler has heard a part of it.
    """
    if "\0" in raw:
        return False
    match, unescape = _TAG.match, html.unescape
    start, end, data = handler.handle_starttag, handler.handle_endtag, handler.handle_data
    known: dict[str, Attributes | None] = {"": []}
    place, awaited = 0, ""  # awaited: the end tag of an element of text
    while found := match(raw, place):
        text, tag, written, slash, ended, less_than = found.groups()
        place = found.end()
        if text:
            data(unescape(text) if "&" in text else text)
        if ended:
            end(ended := ended.lower())
            if awaited and ended != awaited:
                return False
            awaited = ""
        elif awaited:
            return False
        elif tag:
            tag = tag.lower()
            if written not in known:
                known[written] = _attributes(written, wanted)
            attributes = known[written]
            if attributes is None or tag == "plaintext":
                return False
            if tag in _RAW and (slash or not _PLAIN[tag].match(raw, place)):
                return False
            if slash:
                if tag in _TEXTS:
                    return False
                handler.handle_startendtag(tag, attributes)
                continue
            start(tag, attributes)
            if tag in _TEXTS:
                awaited = tag
                if tag in _SCRIPTS:
                    content = _script(raw, place, tag)
                    if content is None:
                        return False
                    place += len(content)
                    if content:
                        data(content)
        elif less_than is not None:
            data("<")
    text = raw[place:]
    if text and "<" not in text:
        data(unescape(text) if "&" in text else text)
    return "<" not in text and not awaited


def _script(raw: str, place: int, tag: str) -> str | None:
    """What stands up to the end tag, in which nothing is markup; None where versions differ."""
    end = _SCRIPT_ENDS[tag].search(raw, place)
    content = raw[place : end.start()] if end else None
    if content and "<!--" in content and "<script" in content.lower():
        return None
    return content


def _attributes(written: str, wanted: frozenset[str]) -> Attributes | None:
    """The wanted attributes of a tag; None where versions differ on what one means."""
    attributes: Attributes = []
    for name, value in _ATTRIBUTES.findall(written):
        name = name.lower()
        if name not in wanted:
            continue
        if value[:1] in ("'", '"'):
            value = value[1:-1]
        elif not value:
            value = None
        if value and "&" in value:
            if "&" in _ENDED.sub("", value):
                return None
            value = html.unescape(value)
        attributes.append((name, value))
    return attributes
