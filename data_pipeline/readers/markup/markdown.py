"""Markdown (CommonMark with tables) -> plain text through markdown-it's tokens.

Code, fenced, indented or inline, is copied character for character. Front matter is removed; its
title becomes the heading of a document that has none of its own.
"""

import functools
import html
import re
from collections.abc import Iterator
from typing import BinaryIO

import markdown_it
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from data_pipeline import document

MAX_CHARS = 4 * 1024 * 1024
# Nested deeper, a block would be left out by the parser: 50 levels of lists, 100 of quotations.
_MAX_NESTING = 100
# A key or a comment stands below its first line at once; a rule is followed by a blank line.
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n((?:#|[^\s:][^:\n]*:(?=\s)).*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL
)
# A value goes on in indented lines, folded (>-) or not.
_TITLE = re.compile(r"^title:[ \t]*(?:[>|][+-]?(?=\n))?(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,2000}>|<!--.*?(?:-->|\Z)", re.DOTALL)
_UNSHOWN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_PRE = re.compile(r"<pre\b[^<>]{0,2000}>\n?(.*?)(?:</pre\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_CELL = re.compile(r"</t[dh]\s*>\s*(?=<t[dh]\b)", re.IGNORECASE)
_ROW = re.compile(r"</tr\s*>", re.IGNORECASE)
_NOT_RAISED = re.compile(r"(?:st|nd|rd|th)\Z|\[|\Z")
_MARKUP = re.compile(r"[\\`*_\[<&{]|!\[| {2}\n")
_LINE_EDGE = re.compile(r"[ \t]*\n[ \t]*")
_ALERT = re.compile(r"\A\[!(\w+)\]\s*")
# "# Title {#anchor .class}" and "- [ ] task": neither is text.
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^{}]*\}\Z")
_TASK = re.compile(r"\A\[[ xX]\][ \t]+")
# mdBook's directives inside a listing name a file that is not in the book's text.
_INCLUDE = re.compile(r"^[ \t]*\{\{#\w+[^{}]{0,500}\}\}[ \t]*\n?", re.MULTILINE)
_MACRO = re.compile(r"\{\{\s*([A-Za-z_][\w-]{0,60})\s*(?:\(([^{}]{0,1000})\))?\s*\}\}")
_ARGUMENT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^\s,\"']+)")
# Macros of MDN that show text: number of the argument shown, from 1; all others are navigation.
_SHOWN = frozenset(
    """httpheader httpmethod httpstatus domxref jsxref cssxref htmlelement svgelement
    svgattr htmlattrxref glossary csp rfc bug webextapiref mathmlelement xref event sectiononpage
    xsltref xpathref""".split()
)
# Marks behind a name, which the site shows as a badge.
_BADGES = {
    "optional_inline": "(optional)", "readonlyinline": "(read only)",
    "deprecated_inline": "(deprecated)", "experimental_inline": "(experimental)",
    "non-standard_inline": "(non-standard)",
}  # fmt: skip
_ELEMENT = frozenset({"htmlelement", "svgelement", "mathmlelement"})


def read(
    stream: BinaryIO, *, path: str, macros: bool = False, mdbook: bool = False
) -> Iterator[document.Document]:
    """Yields the file as one document.

    `macros` says that {{macro("argument")}} is MDN's, `mdbook` that a line {{#include ...}} in a
    listing is mdBook's. Raises ReadError("too_deep") for what the parser would leave out.
    """
    raw = document.read_text(stream, path=path, max_bytes=MAX_CHARS)
    try:
        text = convert(raw, macros=macros, mdbook=mdbook)
    except document.ReadError as error:
        raise document.ReadError(error.kind, f"{path}: {error}") from error
    if text:
        yield document.Document(id=path, text=text, path=path)


def convert(raw: str, *, macros: bool = False, mdbook: bool = False) -> str:
    """Returns the text of a Markdown document, blocks separated by a blank line."""
    title, raw = _front_matter(raw)
    blocks = _Blocks(mdbook)
    for token in _parser(macros).parse(raw):
        is_container = token.type in ("blockquote_open", "list_item_open")
        if is_container and token.level >= _MAX_NESTING - 1:
            raise document.ReadError("too_deep", f"nested deeper than {_MAX_NESTING} levels")
        blocks.add(token)
    text = blocks.text()
    if title and not blocks.has_title:
        text = f"{title}\n\n{text}" if text else title
    return text


def _front_matter(raw: str) -> tuple[str, str]:
    match = _FRONT_MATTER.match(raw)
    if not match:
        return "", raw
    found = _TITLE.search(match.group(1))
    title = " ".join(found.group(1).split()).strip("\"'").replace("`", "") if found else ""
    return title, raw[match.end() :]


@functools.cache
def _parser(macros: bool) -> markdown_it.MarkdownIt:
    parser = markdown_it.MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table")
    # Link targets are dropped, so neither checking nor encoding them is of use; the inline rules
    # run over what has markup in it only. Together this is twice the speed.
    parser.validateLink = lambda url: True
    parser.normalizeLink = parser.normalizeLinkText = lambda url: url
    parser.core.ruler.at("inline", _inline_rule)
    parser.block.ruler.at("reference", _reference_rule)
    if macros:
        # Before emphasis: an underscore in {{jsxref("a_b_c")}} is no markup.
        parser.inline.ruler.before("escape", "mdn_macro", _macro_rule)
    return parser


def _inline_rule(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and _MARKUP.search(token.content):
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _reference_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """[a]: address is the target of links, [^1]: word is a note's text."""
    begin = state.bMarks[start] + state.tShift[start]
    return not state.src.startswith("[^", begin) and reference(state, start, end, silent)


def _macro_rule(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("{{", state.pos):
        return False
    match = _MACRO.match(state.src, state.pos)
    if not match:
        return False
    if not silent:
        token = state.push("text", "", 0)
        token.content = _macro_text(match.group(1).lower(), match.group(2) or "")
    state.pos = match.end()
    return True


def _macro_text(name: str, arguments: str) -> str:
    if name not in _SHOWN:
        return _BADGES.get(name, "")
    words = [a or b or c for a, b, c in _ARGUMENT.findall(arguments)]
    if not words:
        return ""
    if name == "rfc":
        return f"RFC {words[0]}"
    if name == "httpstatus":
        return words[1] if len(words) > 1 else words[0]
    # The second argument is the text to show where it is given and not empty.
    shown = words[1] if len(words) > 1 and words[1] and name != "rfc" else words[0]
    return f"<{shown}>" if name in _ELEMENT and len(words) == 1 else shown


class _Blocks:
    """Collects the text of block tokens; lists indent their content by their marker's width."""

    def __init__(self, mdbook: bool):
        self.has_title = False
        self._mdbook = mdbook
        self._parts: list[str] = []
        self._lists: list[list] = []  # [kind, next number, marker pending]
        self._row: list[str] | None = None
        self._in_heading = False
        self._tight = False

    def text(self) -> str:
        return "".join(self._parts).strip("\n")

    def add(self, token: Token) -> None:
        handler = getattr(self, f"_on_{token.type}", None)
        if handler:
            handler(token)

    def _on_inline(self, token):
        text = _inline(token.children) if token.children else _LINE_EDGE.sub("\n", token.content)
        if self._row is not None:
            self._row.append(" ".join(text.split()))
            return
        text = _ALERT.sub(lambda m: m.group(1).capitalize() + ": ", text.strip())
        if self._in_heading:
            text = _ATTRIBUTES.sub("", text)
        elif self._lists and self._lists[-1][2]:
            text = _TASK.sub("", text)
        self._block(text)

    def _on_fence(self, token):
        self._code(_INCLUDE.sub("", token.content) if self._mdbook else token.content)

    def _on_code_block(self, token):
        self._code(token.content)

    def _on_html_block(self, token):
        for number, piece in enumerate(_PRE.split(_UNSHOWN.sub("", token.content))):
            if number % 2:
                self._code(html.unescape(_TAG.sub("", piece)))
                continue
            piece = _ROW.sub("\n", _CELL.sub(" | ", piece))
            lines = [line.strip() for line in html.unescape(_TAG.sub("", piece)).split("\n")]
            self._block("\n".join(line for line in lines if line))

    def _on_heading_open(self, token):
        self.has_title = self.has_title or token.tag == "h1"
        self._in_heading = True

    def _on_heading_close(self, token):
        self._in_heading = False

    def _on_bullet_list_open(self, token):
        self._lists.append(["-", 0, False])

    def _on_ordered_list_open(self, token):
        self._lists.append(["1", int(token.attrGet("start") or 1), False])

    def _close_list(self, token):
        self._lists.pop()
        if not self._lists:
            self._tight = False

    _on_bullet_list_close = _on_ordered_list_close = _close_list

    def _on_list_item_open(self, token):
        self._lists[-1][2] = True

    def _on_list_item_close(self, token):
        innermost = self._lists[-1]
        innermost[1] += 1
        innermost[2] = False

    def _on_tr_open(self, token):
        self._row = []

    def _on_tr_close(self, token):
        if any(self._row):
            self._block(" | ".join(self._row), tight=self._in_table)
            self._in_table = True
        self._row = None

    def _on_table_open(self, token):
        self._in_table = False

    def _code(self, text: str) -> None:
        text = text.rstrip("\n")
        if text.strip():
            self._block(text)

    def _block(self, text: str, *, tight: bool = False) -> None:
        """Adds a block; only what stands in a list gets an indentation of its own."""
        if not text:
            return
        first, indent = "", ""
        for kind, number, pending in self._lists:
            marker = "- " if kind == "-" else f"{number}. "
            first += marker if pending else " " * len(marker)
            indent += " " * len(marker)
        is_item = any(pending for _, _, pending in self._lists)
        for innermost in self._lists:
            innermost[2] = False
        lines = [first + text.partition("\n")[0]]
        rest = text.split("\n")[1:]
        lines += [indent + line if line.strip() else line for line in rest]
        # Items of a list are neighbours; all else is separated by a blank line.
        glued = tight or (is_item and self._tight)
        self._parts.append(("\n" if glued else "\n\n") + "\n".join(lines))
        self._tight = bool(self._lists)


def _inline(tokens) -> str:
    parts: list[str] = []
    for number, token in enumerate(tokens):
        kind = token.type
        if kind in ("text", "code_inline", "text_special"):
            parts.append(token.content)
        elif kind in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif kind == "image":
            parts.append(_inline(token.children or ()))
        elif kind == "html_inline" and token.content.lower().startswith("<br"):
            parts.append("\n")
        elif kind == "html_inline" and token.content.lower() == "<sup>":
            # A power is one: 2<sup>n</sup> is not 2n. Ordinals and marks of notes are none.
            raised = tokens[number + 1].content if number + 1 < len(tokens) else ""
            parts.append("" if _NOT_RAISED.match(raised) else "^")
    return "".join(parts)
