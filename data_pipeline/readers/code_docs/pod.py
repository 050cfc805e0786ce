"""Perl's POD, a page of it or what stands in a module -> plain text.

perlpod and perlpodspec describe it. Code around it is left out; source_code.py reads a module as it
stands.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import marks
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.code_docs import pod_codes

MAX_CHARS = 4 * 1024 * 1024
_MAX_LISTS = 20  # deeper ones are not indented further
_COMMAND = re.compile(r"=([a-zA-Z]\w*)[ \t]*(.*)", re.DOTALL)
_CUT = re.compile(r"=cut(?![a-zA-Z0-9])")
_BULLET, _NUMBER = re.compile(r"\*(?:\s+|\Z)"), re.compile(r"(\d{1,9})\.?\Z")
_COMMENT = re.compile(r"[ \t]*#")
_ENCODING = re.compile(rb"^=encoding[ \t]+([\w.-]+)", re.MULTILINE)
_SHOWN_FORMATS = ("text", "TEXT")
_CODES = re.compile(r"(?=[A-Z]<)")
_MARKUP = Markup(
    settings=r"^=(?:over|back|encoding|begin|end|for|cut|pod)\b.*",
    commands=r"^=[a-zA-Z]\w*",
    codes=r"[A-Z]<",
)


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file's POD as one document; its title is the first paragraph below NAME."""
    data = document.read_bytes(stream, path=path, max_bytes=MAX_CHARS)
    declared = _ENCODING.search(data)
    encodings = document.encodings_of(declared.group(1).decode("ascii") if declared else "")
    raw = document.decode(data, path=path, encodings=encodings)
    pod, code = _divided(raw)
    text, title = titled(pod, account.left_out)
    words = "\n".join(map(_words, _paragraphs(pod)))
    account.read(words, text, where=path, pieces=_MARKUP)
    for line in code:
        account.skip("other_comments" if _COMMENT.match(line) else "markup/code", line)
    if text:
        yield document.Document(id=path, text=text, path=path, title=title)


def convert(raw: str, *, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns the text of a file's POD, blocks separated by a blank line, code marked."""
    return titled(_divided(raw)[0], left_out)[0]


def titled(pod: str, left_out: document.LeftOut) -> tuple[str, str]:
    """Returns (text, title) of POD without code around it."""
    page = _Page(left_out)
    for text in _paragraphs(pod):
        page.paragraph(text)
    return page.text(), page.title


def _paragraphs(pod: str) -> Iterator[str]:
    """Yields each paragraph; an empty one for each blank line beyond the first."""
    lines: list[str] = []
    for line in [*pod.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        else:
            yield "\n".join(lines)
            lines = []


def _divided(raw: str) -> tuple[str, list[str]]:
    """Returns (POD, lines of code): a command begins POD anywhere, =cut ends it."""
    pod: list[str] = []
    code: list[str] = []
    is_pod = False
    for line in raw.split("\n"):
        if is_pod and _CUT.match(line):
            pod += ["", line, ""]  # which need not stand between blank lines
            is_pod = False
        else:
            is_pod = is_pod or bool(_COMMAND.match(line) and not _CUT.match(line))
            (pod if is_pod else code).append(line)
    return "\n".join(pod), code


def _words(paragraph: str) -> str:
    """A paragraph with named characters as such, and with the letters of codes apart from words."""
    if paragraph[:1].isspace():
        return paragraph
    return _CODES.sub(" ", pod_codes.unescaped(paragraph))


@dataclasses.dataclass
class _List:
    """An open =over, or the page: the style of its items ("", "-", "1", "term"), and the last one.

    Without items it is a quotation, or the page.
    """

    style: str = ""
    marker: str = ""
    blocks: list[str] = dataclasses.field(default_factory=list)
    items: list[str] = dataclasses.field(default_factory=list)

    def item(self, style: str, marker: str) -> None:
        """Begins an item; what stood in a list before its first one stays above it."""
        if not self.style:
            self.items, self.blocks, self.style = self.blocks, [], style
        else:
            self._end_item()
        self.marker = marker

    def text(self) -> str:
        """The whole list: items are neighbours, and terms below which nothing stands."""
        if not self.style:
            return "\n\n".join(self.blocks)
        self._end_item()
        text, is_apart = "", False
        for item in self.items:
            text += ("\n\n" if is_apart else "\n") + item
            is_apart = self.style == "term" and "\n" in item
        return text.strip("\n")

    def _end_item(self) -> None:
        body, self.blocks = "\n\n".join(self.blocks), []
        # A term stands above its text; a bullet or a number before it.
        pad = "    " if self.style == "term" else " " * len(self.marker)
        lines = [pad + line if line.strip() else line for line in body.split("\n")]
        if self.style == "term":
            self.items.append("\n".join([self.marker, *lines]) if body else self.marker)
        elif body:
            self.items.append(self.marker + "\n".join(lines)[len(pad) :])


class _Page:
    """The text so far, list within list."""

    def __init__(self, left_out: document.LeftOut):
        self.title = ""
        self._left_out = left_out
        self._lists = [_List()]
        self._deeper = 0
        self._verbatim: list[str] = []  # lines
        self._formats: list[str] = []  # open =begin, the innermost last
        self._is_name = False

    def text(self) -> str:
        """Returns the text; what is still open ends here."""
        self._flush()
        self._end_lists()
        return self._lists[0].text().strip("\n")

    def paragraph(self, text: str) -> None:
        """Adds a paragraph, of whatever kind."""
        command = _COMMAND.match(text)
        if self._is_other_format and not (command and command.group(1) in ("begin", "end")):
            if text.strip():
                self._other_format(self._formats[-1], text)
        elif not text.strip():
            # Blank lines between verbatim paragraphs are of the code that these are together.
            self._verbatim += [""] if self._verbatim else []
        elif command:
            self._flush()
            self._command(command.group(1), command.group(2).strip())
        elif text[0] in " \t" or self._formats[-1:] and self._formats[-1] in _SHOWN_FORMATS:
            self._verbatim += [*text.split("\n"), ""]
        else:
            self._flush()
            self._prose(text)

    @property
    def _is_other_format(self) -> bool:
        shown = (*_SHOWN_FORMATS, *(f":{name}" for name in _SHOWN_FORMATS))
        return any(name not in shown for name in self._formats)

    def _other_format(self, name: str, text: str) -> None:
        self._left_out("markup/comments" if name.lstrip(":") == "comment" else "raw", text)

    def _flush(self) -> None:
        if self._verbatim:
            self._add(marks.code("\n".join(map(str.rstrip, self._verbatim)).rstrip("\n")))
            self._verbatim = []

    def _add(self, text: str) -> None:
        if text.strip():
            self._lists[-1].blocks.append(text)

    def _prose(self, text: str) -> None:
        shown = marks.folded(pod_codes.shown(text, self._left_out))
        # By custom "name - what it is", by which man and perldoc find the page.
        if self._is_name and not self.title:
            self.title = marks.unmarked(shown)
        self._add(shown)

    def _command(self, name: str, text: str) -> None:
        if name.startswith("head"):
            self._end_lists()  # a heading is never in a list: that one was not ended
            self._prose(text)
            self._is_name = text.upper() == "NAME"
        elif name == "over":
            self._start_list()
        elif name == "back":
            self._end_list()
        elif name == "item":
            self._item(text)
        elif name == "begin":
            self._formats.append(text.split()[0] if text else "")
        elif name == "end":
            self._formats = self._formats[:-1]
        elif name == "for":
            self._for(text)
        elif name not in ("pod", "cut", "encoding"):
            self._left_out("unknown_commands", text)

    def _for(self, text: str) -> None:
        name, rest = [*text.split(maxsplit=1), "", ""][:2]
        if name in _SHOWN_FORMATS:
            self._add(marks.code(rest))
        elif name.removeprefix(":") in _SHOWN_FORMATS:
            self._prose(rest)
        else:
            self._other_format(name, rest)

    def _item(self, text: str) -> None:
        if len(self._lists) == 1:  # an item outside of any list, which perldoc shows all the same
            self._start_list()
        top = self._lists[-1]
        bullet, number = _BULLET.match(text), _NUMBER.match(text)
        # The first item says what the others are.
        if bullet and top.style in ("", "-"):
            top.item("-", "- ")
            self._prose(text[bullet.end() :])
        elif number and top.style in ("", "1"):
            top.item("1", f"{number.group(1)}. ")
        elif top.style in ("", "term"):
            top.item("term", marks.folded(pod_codes.shown(text, self._left_out)))
        else:
            top.item(top.style, "- ")
            self._prose(text)

    def _start_list(self) -> None:
        if len(self._lists) < _MAX_LISTS:
            self._lists.append(_List())
        else:
            self._deeper += 1

    def _end_list(self) -> None:
        if self._deeper:
            self._deeper -= 1
        elif len(self._lists) > 1:
            text = self._lists.pop().text()
            self._add(text)

    def _end_lists(self) -> None:
        self._deeper = 0
        while len(self._lists) > 1:
            self._end_list()
