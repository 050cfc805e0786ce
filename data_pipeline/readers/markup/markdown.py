"""Markdown (CommonMark with tables) -> plain text through markdown-it's tokens.

Code, fenced, indented or inline, is copied character for character. Front matter is removed; its
title becomes the heading of a document that has none of its own.
"""

import functools
import html as entities
import re
from collections.abc import Iterator
from typing import BinaryIO

import markdown_it
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from data_pipeline import document
from data_pipeline.readers import marks, superscripts
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.includes import NOTHING, Includes
from data_pipeline.readers.markup import blocks, footnotes, html, mdn_macros, pipe_tables
from data_pipeline.readers.markup import mdbook as book
from data_pipeline.readers.markup import snippets as files

MAX_CHARS = 4 * 1024 * 1024
# Nested deeper, a block would be left out by the parser: 50 levels of lists, 100 of quotations.
_MAX_NESTING = 100
# A key or a comment stands below its first line at once; a rule is followed by a blank line.
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n((?:#|[^\s:][^:\n]*:(?=\s)).*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL
)
# Hugo's: TOML between lines of plus signs.
_TOML = re.compile(r"\A\+\+\+[ \t]*\n((?:.*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
_TOML_TITLE = re.compile(r"^title[ \t]*=[ \t]*(\"[^\"\n]*\"|'[^'\n]*')", re.MULTILINE)
# A value goes on in indented lines, folded (>-) or not.
_TITLE = re.compile(r"^title:[ \t]*(?:[>|][+-]?(?=\n))?(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_NAME = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_ALT = re.compile(r"\balt\s*=\s*([\"'])(.*?)\1", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(r"[\\`*_\[<&{]|!\[|~~| {2}\n")
_LINE_EDGE = re.compile(r"[ \t]*\n[ \t]*")
_ALERT = re.compile(r"\A\[!(\w+)\]\s*")
# "# Title {#anchor .class}" and "- [ ] task": neither is text.
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^{}]*\}\Z")
_TASK = re.compile(r"\A\[[ xX]\][ \t]+")
# What is no text in Markdown: whose words may be missing from it.
MARKUP = Markup(
    front_matter=r"\A(?:---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)|\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+)[ \t]*$",
    comments=r"<!--(?:.|\n)*?-->",
    tags=r"</?[A-Za-z][^<>]*>",
    link_targets=r"\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\]\[[^\[\]\n]*\]"
    r"|^[ >]*\[[^\]\n]+\]:.*(?:\n[ \t]+.*)?",
    fences=r"^[ \t>*+-]*(?:\d+[.)][ \t]*)?(?:```|~~~).*$",
    macros=r"\{\{[^{}]*\}\}",
    attributes=r"\{[#.:][^{}\n]*\}",
    numbers=r"^[ \t>*+-]*\d{1,9}[.)](?=\s)",
    tasks=r"\[[xX]\]|\[!\w+\]",
)


def read(
    stream: BinaryIO,
    *,
    path: str,
    macros: bool = False,
    mdbook: bool = False,
    snippets: bool = False,
    notes: bool = True,
    includes: Includes = NOTHING,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the file as one document.

    `macros` says that {{macro("argument")}} is MDN's, `mdbook` that {{#include ...}} and <Listing>
    are mdBook's, `snippets` that {{ file }} shows a file; without `notes`, footnotes stand as they
    are written. Raises ReadError("too_deep") for what
    the parser would leave out.
    """
    raw = document.read_text(stream, path=path, max_bytes=MAX_CHARS)
    if mdbook:
        raw = book.expanded(raw, includes, account.left_out)
    if snippets:
        raw = files.expanded(raw, includes, account.left_out)
    try:
        text, title = titled(raw, macros=macros, notes=notes, left_out=account.left_out)
    except document.ReadError as error:
        raise document.ReadError(error.kind, f"{path}: {error}") from error
    account.read(html.unescaped(raw), text, where=path, pieces=MARKUP)
    if text:
        yield document.Document(id=path, text=text, path=path, title=title)


def convert(
    raw: str, *, macros: bool = False, left_out: document.LeftOut = document.uncounted
) -> str:
    """Returns the text of a Markdown document, blocks separated by a blank line, code marked."""
    return titled(raw, macros=macros, left_out=left_out)[0]


def titled(
    raw: str, *, macros: bool, notes: bool = True, left_out: document.LeftOut
) -> tuple[str, str]:
    """Returns (text, title): the front matter's, else the first heading of the first rank."""
    title, raw = _front_matter(raw)
    writer = _Writer(left_out)
    for token in _parser(macros).parse(raw, {"left_out": left_out, "notes": notes}):
        is_container = token.type in ("blockquote_open", "list_item_open")
        if is_container and token.level >= _MAX_NESTING - 1:
            raise document.ReadError("too_deep", f"nested deeper than {_MAX_NESTING} levels")
        writer.add(token)
    text = writer.text()
    if title and not writer.title:
        text = f"{title}\n\n{text}" if text else title
    return text, title or marks.unmarked(writer.title)


def _front_matter(raw: str) -> tuple[str, str]:
    match, title = _FRONT_MATTER.match(raw), _TITLE
    if not match:
        match, title = _TOML.match(raw), _TOML_TITLE
    if not match:
        return "", raw
    found = title.search(match.group(1))
    name = " ".join(found.group(1).split()).strip("\"'").replace("`", "") if found else ""
    return name, raw[match.end() :]


@functools.cache
def _parser(macros: bool) -> markdown_it.MarkdownIt:
    parser = markdown_it.MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    # Link targets are dropped, so neither checking nor encoding them is of use; the inline rules
    # run over what has markup in it only. Together this is twice the speed.
    parser.validateLink = lambda url: True
    parser.normalizeLink = lambda url: url
    parser.normalizeLinkText = lambda link: link
    parser.core.ruler.at("inline", _inline_rule)
    parser.block.ruler.at("reference", _reference_rule)
    parser.block.ruler.before(
        "reference", "footnote", footnotes.block_rule, {"alt": ["paragraph", "reference"]}
    )
    parser.inline.ruler.before("link", "footnote", footnotes.inline_rule)
    parser.block.ruler.at("table", pipe_tables.rule, {"alt": ["paragraph", "reference"]})
    parser.inline.ruler.before("html_inline", "comment", _comment_rule)
    if macros:
        # Before emphasis: an underscore in {{jsxref("a_b_c")}} is no markup.
        parser.inline.ruler.before("escape", "mdn_macro", mdn_macros.rule)
    return parser


def _inline_rule(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and _MARKUP.search(token.content):
            assert token.children is not None  # the block rules begin it as a list
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _reference_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """[a]: address is the target of links, [^1]: word is a note's text."""
    begin = state.bMarks[start] + state.tShift[start]
    return not state.src.startswith("[^", begin) and reference(state, start, end, silent)


def _comment_rule(state: StateInline, silent: bool) -> bool:
    """A comment ends at the first -->: `<!--- a --->`, too, which markdown-it reads beyond."""
    start = state.pos
    if not state.src.startswith("<!--", start) or _last_comment_end(state.src) < start + 2:
        return False
    state.pos = state.src.index("-->", start + 2) + 3
    return True


@functools.lru_cache(maxsize=1)
def _last_comment_end(text: str) -> int:
    return text.rfind("-->")


class _Writer:
    """Handlers of markdown-it's block tokens."""

    def __init__(self, left_out: document.LeftOut):
        self.title = ""  # the first heading of the first rank
        self._left_out = left_out
        self._blocks = blocks.Blocks()
        self._row: list[str] | None = None
        self._heading = ""  # h1 to h6

    def text(self) -> str:
        return self._blocks.text()

    def add(self, token: Token) -> None:
        handler = getattr(self, f"_on_{token.type}", None)
        if handler:
            handler(token)

    def _on_inline(self, token):
        text = _inline(token.children) if token.children else _LINE_EDGE.sub("\n", token.content)
        text = superscripts.shown(text, self._left_out)
        if self._row is not None:
            self._row.append(text)
            return
        text = _ALERT.sub(lambda m: m.group(1).capitalize() + ": ", text.strip())
        if self._heading:
            text = _ATTRIBUTES.sub("", text)
            if self._heading == "h1":
                self.title = self.title or text
        elif self._blocks.item_is_empty:
            text = _TASK.sub("", text)
        self._blocks.add(text)

    def _on_fence(self, token):
        self._blocks.code(token.content)

    _on_code_block = _on_fence

    def _on_html_block(self, token):
        self._blocks.add(html.convert(token.content, fragment=True, left_out=self._left_out))

    def _on_heading_open(self, token):
        self._heading = token.tag

    def _on_heading_close(self, token):
        self._heading = ""

    def _on_bullet_list_open(self, token):
        self._blocks.open_list("-")

    def _on_ordered_list_open(self, token):
        self._blocks.open_list("1", int(token.attrGet("start") or 1))

    def _on_bullet_list_close(self, token):
        self._blocks.close_list()

    _on_ordered_list_close = _on_bullet_list_close

    def _on_list_item_open(self, token):
        self._blocks.open_item()

    def _on_list_item_close(self, token):
        self._blocks.close_item()

    def _on_tr_open(self, token):
        self._row = []

    def _on_tr_close(self, token):
        assert self._row is not None  # since tr_open
        self._blocks.row(self._row)
        self._row = None

    def _on_table_close(self, token):
        self._blocks.end_table()


def _inline(tokens) -> str:
    parts: list[str] = []
    opened: list[tuple[str, int]] = []  # code written as HTML: element, where it begins in parts
    for token in tokens:
        kind = token.type
        if kind in ("text", "text_special"):
            parts.append(token.content)
        elif kind == "code_inline":
            parts.append(marks.code(token.content))
        elif kind in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif kind == "image":
            parts.append(_inline(token.children or ()))
        elif kind == "link_open" and parts[-1:] == [superscripts.START]:
            parts.append(superscripts.LINK)
        elif kind == "html_inline":
            _html(token.content, parts, opened)
    return "".join(parts)


def _html(tag: str, parts: list[str], opened: list[tuple[str, int]]) -> None:
    name = _NAME.match(tag)
    is_end, name = (name.group(1), name.group(2).lower()) if name else ("", "")
    if name == "br":
        parts.append("\n")
    elif name == "sup":
        parts.append(superscripts.END if is_end else superscripts.START)
    elif name == "img":
        alt = _ALT.search(tag)
        parts.append(entities.unescape(alt.group(2)) if alt else "")
    elif name == "a" and parts[-1:] == [superscripts.START]:
        parts.append(superscripts.LINK)
    elif name in ("pre", "code", "kbd", "samp", "tt") and not is_end:
        opened.append((name, len(parts)))
    elif opened and opened[-1][0] == name:
        start = opened.pop()[1]
        text = "".join(parts[start:])
        parts[start:] = [marks.code(text.strip("\n") if name == "pre" else text)]
