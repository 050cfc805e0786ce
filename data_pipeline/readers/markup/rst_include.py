"""Directives of reST that take in a file: include, literalinclude, kernel-doc."""

import ast
import posixpath
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import docutils.parsers.rst
from docutils import nodes, statemachine

from data_pipeline import document
from data_pipeline.readers.code_docs import kerneldoc
from data_pipeline.readers.includes import Includes, NotIncludedError
from data_pipeline.readers.markup import rst_limits

# docutils's own lists of characters, such as <isonum.txt>: definitions, no text.
_STANDARD = Path(docutils.parsers.rst.__file__).parent / "include"
_STANDARD_NAME = re.compile(r"<([a-z0-9-]{1,30}\.txt)>")


class Included:
    """What a page has taken in so far."""

    def __init__(self, includes: Includes, left_out: document.LeftOut):
        self.left_out = left_out
        self.texts: list[str] = []
        self._includes = includes
        self._pages: set[tuple[str, str]] = set()
        self._chars = 0

    def lines(self, directive, target: str) -> list[str] | None:
        """Returns a file's lines, or None where it is left out, which is told."""
        found = self.file(directive, target)
        return found and found[0].expandtabs(8).split("\n")

    def file(self, directive, target: str) -> tuple[str, str] | None:
        """Returns (text, name below the root) of a file named in a directive."""
        # A line of the page itself, or one of a file that it has taken in.
        source, _ = directive.state_machine.get_source_and_line(directive.lineno)
        source = "" if source == directive.state.document["source"] else source
        try:
            return self._includes.text(target.strip(), beside=source or "")
        except NotIncludedError as error:
            self.left_out(str(error), directive.block_text)
            return None

    def has_room(self, directive, text: str) -> bool:
        """Whether docutils takes text in: it is quadratic for some, so that a page has a limit."""
        self._chars += len(text)
        if self._chars > rst_limits.MAX_CHARS:
            self.left_out("include_too_large", directive.block_text)
            return False
        self.texts.append(text)
        return True

    def is_first(self, directive, name: str, options: str) -> bool:
        """Whether a page is taken in for the first time; again it would be for ever."""
        if (name, options) in self._pages:
            self.left_out("include_repeated", directive.block_text)
            return False
        self._pages.add((name, options))
        return True


def _include(directive, included: Included) -> list[nodes.Node]:
    target, options = " ".join(directive.arguments), directive.options
    standard = _STANDARD_NAME.fullmatch(target)
    if standard:
        return _standard(directive, standard.group(1))
    found = included.file(directive, target)
    if found is None or not included.is_first(directive, found[1], repr(sorted(options.items()))):
        return []
    lines = found[0].expandtabs(8).split("\n")
    lines = lines[_line(options, "start-line", 0) : _line(options, "end-line", len(lines))]
    text = _between("\n".join(lines), options, is_whole_line=False)
    if "literal" in options or "code" in options:
        included.texts.append(text)
        return [nodes.literal_block("", text.strip("\n"))] if text.strip() else []
    if not included.has_room(directive, text):
        return []
    try:
        rst_limits.check(text, found[1])
    except document.ReadError:
        included.left_out("include_refused", directive.block_text)
        return []
    # As docutils does: the page goes on with these lines, so that their sections are its own.
    directive.state_machine.insert_input(text.split("\n"), found[1])
    return []


def _standard(directive, name: str) -> list[nodes.Node]:
    path = _STANDARD / name
    if path.is_file():
        lines = statemachine.StringList(path.read_text(encoding="utf-8").split("\n"), name)
        directive.state.nested_parse(lines, 0, nodes.container())
    return []


def _literal_include(directive, included: Included) -> list[nodes.Node]:
    options = directive.options
    lines = included.lines(directive, " ".join(directive.arguments))
    if lines is None:
        return []
    text = "\n".join(lines)
    if options.get("pyobject"):
        text = _python_object(text, options["pyobject"].strip())
    if options.get("lines"):
        text = _numbered(text.split("\n"), options["lines"])
    text = _between(text, options, is_whole_line=True)
    if "dedent" in options:
        text = textwrap.dedent(text)
    parts = [options.get("prepend"), text.strip("\n").rstrip(), options.get("append")]
    text = "\n".join(part for part in parts if part)
    # Also without a name, a caption that is a name is the file's.
    caption = options.get("caption", "")
    caption = posixpath.basename(" ".join(directive.arguments)) if caption is None else caption
    block: list[nodes.Node] = [nodes.paragraph("", caption)] if caption else []
    included.texts.append(text)
    return [*block, nodes.literal_block("", text)] if text.strip() else block


def _kernel_doc(directive, included: Included) -> list[nodes.Node]:
    """Paths are those of the kernel's tree, whose root is above the page."""
    target = " ".join(directive.arguments).split()[:1]
    found = included.file(directive, "/" + "".join(target).lstrip("/"))
    if found is None:
        return []
    options = {key: value or "" for key, value in directive.options.items()}
    text = kerneldoc.rest(found[0], options)
    if not text:
        included.left_out("kernel_doc_empty", directive.block_text)
    if not text or not included.has_room(directive, text):
        return []
    container = nodes.container()
    lines = statemachine.StringList(text.split("\n"), found[1])
    directive.state.nested_parse(lines, 0, container)
    return list(container.children)


DIRECTIVES: dict[str, Callable] = {
    "include": _include,
    "literalinclude": _literal_include,
    "kernel-doc": _kernel_doc,
}


def _line(options: dict, name: str, otherwise: int) -> int:
    value = options.get(name) or ""
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value.strip()) else otherwise


def _between(text: str, options: dict, *, is_whole_line: bool) -> str:
    """Cuts by start-after, start-at, end-before and end-at; literalinclude's speak of lines."""
    for name, is_start, is_kept in (
        ("start-after", True, False),
        ("start-at", True, True),
        ("end-before", False, False),
        ("end-at", False, True),
    ):
        wanted = options.get(name)
        if not wanted or (at := text.find(wanted)) < 0:
            continue
        before, behind = at, at + len(wanted)
        if is_whole_line:
            before = text.rfind("\n", 0, at) + 1
            behind = (text.find("\n", behind) + 1) or len(text)
        cut = before if is_start == is_kept else behind
        text = text[cut:] if is_start else text[:cut]
    return text


def _numbered(lines: list[str], chosen: str) -> str:
    """The lines of a list such as 1,3-5,7-."""
    kept = []
    for part in chosen.split(","):
        match = re.fullmatch(r"\s*(\d*)\s*(-?)\s*(\d*)\s*", part)
        if match and (match[1] or match[3]):
            first = int(match[1] or 1)
            last = int(match[3]) if match[3] else len(lines) if match[2] else first
            kept += lines[max(0, first - 1) : last]
    return "\n".join(kept)


_NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _python_object(text: str, name: str) -> str:
    """The source of a class or function, named with dots; all of the file where it is not found."""
    try:
        body = ast.parse(text).body
        for part in name.split("."):
            node = next(each for each in body if isinstance(each, _NAMED) and each.name == part)
            body = node.body
    except (SyntaxError, ValueError, RecursionError, StopIteration):
        return text
    start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return "\n".join(text.split("\n")[start - 1 : node.end_lineno])
