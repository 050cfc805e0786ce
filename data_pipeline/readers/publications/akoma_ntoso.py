"""Akoma Ntoso as Fedlex publishes Swiss federal law -> one document per law.

Text is taken from the leaves, each once: containers repeat nothing. Editorial notes (where an
article was amended and in which gazette) are left out, they are a third of some laws.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element

from data_pipeline import document
from data_pipeline.readers import superscripts, xmlsafe
from data_pipeline.readers.account import NONE, Account

# Elements that hold no text of the law, and the reason under which theirs is counted.
_DROPPED = {
    "authorialNote": "editorial_notes", "noteRef": "editorial_notes", "remark": "editorial_notes",
    "placeholder": "placeholders", "img": "drawing", "figure": "drawing", "del": "deleted_text",
    "meta": "markup/metadata", "components": "components",
}  # fmt: skip
_FRAMES = frozenset(("preface", "preamble", "conclusions"))
_BODIES = frozenset(("body", "mainBody", "judgmentBody"))
# Elements whose direct text is a line of its own.
_LEAVES = frozenset(
    """p docTitle heading subheading num listIntroduction listWrapUp crossHeading longTitle
    docNumber intro wrapUp tocItem td th block wrap formula""".split()
)
# Elements that separate no words.
_INLINE = frozenset("b i u sub span inline ins abbr def ref term a em strong".split())
# An index of key words at the end of a code: article numbers, no sentences.
_REGISTER = re.compile(
    r"(?:Sach|Stichwort|Inhalts|Abk\u00fcrzungs)(?:verzeichnis|register)|(?:Subject )?Index|"
    r"Table of Contents",
    re.IGNORECASE,
)
_SPACES = re.compile(r"\s+")


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the law as one document; a file without any provision raises ReadError("no_body")."""
    root = next(
        xmlsafe.subtrees(stream, wanted=frozenset({"akomaNtoso"}), path=path),
        None,
    )
    if root is None:
        raise document.ReadError("not_akn", f"{path}: no <akomaNtoso> element")
    text = convert(root, account.left_out)
    raw = _line(xmlsafe.text(root, inline=_INLINE))
    account.read(raw, text, where=path, pieces=lambda _: [("outside_of_body", _outside(root))])
    if not text:
        raise document.ReadError("no_body", f"{path}: no provisions")
    yield document.Document(id=path, text=text, path=path)


def _outside(root: Element) -> str:
    """The text of a file that is in no part of the law: metadata, cover page."""
    if xmlsafe.local(root.tag) in _FRAMES | _BODIES:
        return ""
    return " ".join((root.text or "", *(f"{_outside(each)} {each.tail or ''}" for each in root)))


def convert(root: Element, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns the law's text: preface, preamble, provisions, annexes; "" if it has no body."""
    blocks: list[str] = []
    has_body = False
    for part in root.iter():
        name = xmlsafe.local(part.tag)
        if name in _FRAMES:
            blocks += _Writer(left_out).write(part)
        elif name in _BODIES:
            written = _Writer(left_out).write(part)
            has_body = has_body or bool(written)
            blocks += written
    return "\n\n".join(blocks) if has_body else ""


class _Writer:
    """Walks a part; a number stands before the text that it belongs to."""

    def __init__(self, left_out: document.LeftOut):
        self.blocks: list[str] = []
        self._left_out = left_out
        self._number = ""
        self._depth = 0

    def write(self, part: Element) -> list[str]:
        self._walk(part)
        self._emit("")
        return self.blocks

    def _walk(self, node: Element) -> None:
        name = xmlsafe.local(node.tag)
        if name in _DROPPED or _is_register(node):
            self._left_out(_DROPPED.get(name, "register"), _line("".join(node.itertext())))
            return
        if name == "num":
            self._emit("")
            self._number = self._text(node)
        elif name == "table":
            self._table(node)
        elif name == "heading":
            # "Art. 3" and "Kantone" are one line; the asterisk calls a note that is left out.
            self._emit(self._text(node).rstrip("*"))
        elif name in _LEAVES and not _has_blocks(node):
            self._emit(self._text(node))
        else:
            if node.text and node.text.strip():
                self._emit(_line(node.text))
            is_item = name in ("item", "point", "indent")
            self._depth += is_item
            for child in node:
                if name == "article" and xmlsafe.local(child.tag) not in ("num", "heading"):
                    self._emit("")  # without a heading an article's number is a line of its own
                self._walk(child)
                if child.tail and child.tail.strip():
                    self._emit(_line(child.tail))
            self._depth -= is_item

    def _table(self, node: Element) -> None:
        """Rows are neighbouring lines; Fedlex surrounds them with empty columns."""
        self._emit("")
        rows = []
        for row in _rows(node):
            cells = [self._text(cell) for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            while cells and not cells[0]:
                cells.pop(0)
            rows += [" | ".join(cells)] if cells else []
        if rows:
            self.blocks.append("\n".join(rows))

    def _emit(self, text: str) -> None:
        number, self._number = self._number, ""
        line = f"{number} {text}".strip()
        if not line:
            return
        pad = "    " * max(0, self._depth - 1)
        # Items of a list stay together, everything else is a paragraph.
        if self._depth and self.blocks:
            self.blocks[-1] += "\n" + pad + line
        else:
            self.blocks.append(line)

    def _text(self, node: Element) -> str:
        return _text(node, self._left_out)


def _rows(node: Element) -> Iterator[Element]:
    """Rows of a table; those of a table in a cell are the cell's text."""
    for child in node:
        if xmlsafe.local(child.tag) == "tr":
            yield child
        else:
            yield from _rows(child)


def _is_register(node: Element) -> bool:
    head = node[0] if len(node) and xmlsafe.local(node[0].tag) == "heading" else None
    return head is not None and bool(_REGISTER.fullmatch(_text(head)))


def _has_blocks(node: Element) -> bool:
    return any(xmlsafe.local(child.tag) in _LEAVES for child in node)


def _text(node: Element, left_out: document.LeftOut = document.uncounted) -> str:
    parts: list[str] = []

    def walk(each):
        name = xmlsafe.local(each.tag)
        if name in _DROPPED:
            left_out(_DROPPED[name], _line("".join(each.itertext())))
            return
        if name == "sup":
            parts.append(superscripts.START)
        if each.text:
            parts.append(each.text)
        if name in ("br", "eol"):
            parts.append(" ")
        for child in each:
            walk(child)
            if child.tail:
                parts.append(child.tail)
        if name in ("p", "td", "th") and each is not node:
            parts.append(" ")
        if name == "sup":
            parts.append(superscripts.END)

    walk(node)
    return _line(superscripts.shown("".join(parts), left_out))


def _line(text: str) -> str:
    # Soft hyphens and no-break spaces are for print.
    return _SPACES.sub(" ", text.replace("\u00ad", "").replace("\u00a0", " ")).strip()
