"""The roff language as far as man pages use it: escapes, conditions, strings, tables, filling."""

import re
from collections.abc import Callable, Iterator

from data_pipeline import document
from data_pipeline.readers import marks, superscripts
from data_pipeline.readers.manpage import roff_escapes, roff_lines, roff_tables

MAX_OUTPUT_FACTOR = 50
_MAX_STRING_DEPTH = 8


class Page:
    """State of one page: strings, fill mode, the text so far."""

    def __init__(self, path: str, left_out: document.LeftOut):
        self.path = path
        self.left_out = left_out
        self.indent = 0
        self.macros: dict[str, list[str]] = {}  # the page's own that show text or lay it out
        self._waiting = roff_lines.Waiting([])
        self._called = 0  # characters
        self._strings = {"R": "\u00ae", "Tm": "\u2122", "lq": "\u201c", "rq": "\u201d"}
        self._translated: dict[str, str] = {}  # special characters that show as others
        self._blocks: list[tuple[str, str]] = []  # (block, glued, table or heading, text)
        self._words: list[str] = []
        self._fill = True
        self._tag: Callable[[], None] | None = None
        self._lead = ""
        self._glued = False
        self._heading_next = False
        self._continued = False
        self._marked = 0
        self._chars, self._budget = 0, 0
        self._ends_continued = False

    # Reading: comments, definitions and conditions never reach the macros.

    def lines(self, raw: str) -> Iterator[tuple[str, str]]:
        """Yields ("", text) for lines to show and (name, arguments as written) for macros."""
        self._budget = MAX_OUTPUT_FACTOR * (len(raw) + 10_000)
        waiting = self._waiting = roff_lines.Waiting(raw.split("\n"))
        held: list[bool] = []
        depth = 0  # open \{ of conditions that hold
        for line in waiting:
            if line[-1:] == "\\":
                line = roff_lines.joined(line, waiting)
            if line[:3] in roff_lines.CONDITIONS or line[1:2] in roff_lines.BLANK:
                line, opened = roff_lines.resolved(line, waiting, held, self.left_out)
                depth += opened
            if depth and "\\}" in line:
                line = line.replace("\\}", "")
                depth -= 1
            if line[:1] not in roff_lines.CONTROL:  # the empty line too: "" is in every string
                yield "", line
            elif not line:
                self._blank()
            else:
                name, _, rest = line[1:].partition(" ")
                if not name.isalnum():
                    if roff_lines.is_comment(line):
                        continue
                    name, rest = roff_lines.name_of(line)
                if name and not self._own_request(name, rest, waiting):
                    yield name, rest

    def _blank(self) -> None:
        if self._fill:
            self.paragraph()
        elif self._words:
            self._words.append("")

    def arguments(self, rest: str) -> list[str]:
        """Splits a macro's arguments, escapes resolved."""
        if "\\" not in rest:
            return roff_lines.split_arguments(rest) if '"' in rest else rest.split()
        # Strings come last: a quote that one holds is no quote of an argument.
        found = roff_lines.split_arguments(roff_lines.COMMENT.sub("", rest))
        return [self._escapes(self._expand(each, 0)) for each in found]

    def call(self, name: str, rest: str) -> None:
        """Reads the definition of one of the page's own macros next, with these arguments."""
        found = roff_lines.split_arguments(roff_lines.COMMENT.sub("", rest))
        lines = roff_lines.called(self.macros[name], found)
        self._called += sum(map(len, lines)) + 1
        self._check(self._called)
        self._waiting.push(lines)

    def _check(self, chars: int) -> None:
        if chars > self._budget:
            raise document.ReadError("roff_bomb", f"{self.path}: text grows without bound")

    def _own_request(self, name: str, rest: str, waiting: Iterator[str]) -> bool:
        """Handles roff's own requests; False for macros."""
        if name in IGNORED:
            return True
        if "\\" in rest:
            rest = roff_lines.COMMENT.sub("", rest)
        if name in _SWITCHES:
            _SWITCHES[name](self)
        elif name in ("de", "de1", "dei", "am", "ig"):
            words = rest.split()
            if name == "ig":
                words.insert(0, "")
            body = roff_lines.skip_to(waiting, f".{words[1] if len(words) > 1 else '.'}")
            self.left_out("markup/definitions", "\n".join([rest, *body]))
            if words and (roff_lines.shows_arguments(body) or roff_lines.lays_out(body)):
                self.macros[words[0]] = body
        elif name in ("ds", "as", "ds1"):
            key, _, value = rest.lstrip().partition(" ")
            self._strings[key] = value.lstrip().removeprefix('"')
        elif name == "tr":
            found = _CHARACTER.findall(rest.strip())
            self._translated |= {
                a: b for a, b in zip(found[::2], found[1::2], strict=False) if a[0] == "\\"
            }
        elif name == "TS":
            self._table(waiting)
        elif name == "EQ":
            self.left_out("equations", "\n".join(roff_lines.skip_to(waiting, ".EN")))
        else:
            return False
        return True

    # Writing.

    def line(self, line: str) -> None:
        """Adds a line of text as it is written."""
        self._ends_continued = False
        if "\\" in line:
            line = self._escapes(self._expand(line, 0))
        self.text(line, is_continued=self._ends_continued)

    def text(self, line: str, *, is_continued: bool = False) -> None:
        """Adds words whose escapes are resolved, as a macro's arguments are."""
        if self._fill:
            if line[:1] in (" ", "\t") and not self._tag:
                self.line_break()
            if not line or line.isspace():
                return
        self._chars += len(line) + 1
        self._check(self._chars)
        if self._continued and self._words:
            self._words[-1] += line
            self._continued = False
        else:
            self._words.append(line)
        if is_continued:
            self._continued = True
        if self._heading_next:
            self._heading_next = False
            self._flush("heading")
        elif self._tag:
            tag, self._tag = self._tag, None
            tag()

    def append(self, text: str) -> None:
        """Adds text to the last word, without a space."""
        if self._words:
            self._words[-1] += text
        else:
            self.text(text)

    def mark(self) -> None:
        """Remembers this place for text_since_mark."""
        self._marked = self._chars

    def text_since_mark(self) -> bool:
        """Whether any text was added since mark."""
        return self._chars > self._marked

    def heading(self, text: str) -> None:
        """Adds a heading."""
        self._flush()
        if text.strip():
            self._words.append(" ".join(text.split()))
            self._flush("heading")

    def expect_heading(self, text: str) -> None:
        """Adds a heading; without text, the next line is it."""
        self._flush()
        self._fill = True
        self._glued = False
        if text.strip():
            self.heading(text)
        else:
            self._heading_next = True

    def paragraph(self) -> None:
        """Ends the paragraph."""
        self._flush()
        self._glued = False

    def line_break(self) -> None:
        """Ends the line; the next one is not separated from it by a blank line."""
        if self._fill:
            if self._words:
                self._flush()
                self._glued = True

    def no_fill(self, on: bool) -> None:
        """Switches to lines as they stand, or back."""
        if on == (not self._fill):
            return
        self._flush()
        self._glued = False
        self._fill = not on

    def set_indent(self, steps: int) -> None:
        """Sets the indentation, in steps of four spaces."""
        if steps != self.indent:
            self._flush()
            self.indent = max(0, min(steps, 20))

    def reset_indent(self) -> None:
        """Back to the margin."""
        self._flush()
        self.indent = 0

    def start_tag(self, done: Callable[[], None]) -> None:
        """The next text is the tag of a paragraph; `done` is called after it."""
        self._tag = done

    def end_tag(self, body_indent: int) -> None:
        """Ends the tag: what follows stands below it, indented."""
        self._tag = None
        self._flush()
        self._glued = True
        self.indent = min(body_indent, 20)

    def item(self, tag: str, body_indent: int) -> None:
        """A tagged paragraph: bullets and numbers stand before the text, words above it."""
        tag = tag.strip()
        if tag in ("\u2022", "*", "-", "\u2013", "\u2014", "o", "+", "\u00b7"):
            self._lead = "- "
        elif tag and len(tag) <= 4 and (tag[-1] in ".)" or tag.isdigit()):
            self._lead = f"{tag} "
        elif tag:
            self._words.append(tag)
            self._flush()
            self._glued = True
        self.indent = min(body_indent, 20) if not self._lead else min(body_indent - 1, 20)

    def finish(self) -> str:
        """Returns the page's text."""
        self._flush()
        parts: list[str] = []
        for number, (kind, text) in enumerate(self._blocks):
            text = superscripts.shown(text, self.left_out)
            parts.append(("\n" if kind == "glued" else "\n\n" if number else "") + text)
        return "".join(parts).strip("\n")

    def _flush(self, kind: str = "block") -> None:
        if kind == "block" and self._glued:
            kind = "glued"
        self._continued = False
        words, self._words = self._words, []
        if self._fill or kind == "heading":
            lines = [" ".join(" ".join(words).split())]
        else:
            lines = [line.rstrip() for line in words]
            while lines and not lines[-1]:
                lines.pop()
        if not any(lines):
            return
        pad = "    " * self.indent if kind != "heading" else ""
        lead, self._lead = self._lead, ""
        lines = [pad + lead + lines[0]] + [
            (pad + " " * len(lead) + line) if line else "" for line in lines[1:]
        ]
        text = "\n".join(lines)
        is_code = not self._fill and kind in ("block", "glued")
        self._blocks.append((kind, marks.code(text) if is_code else text))
        self._glued = False

    # Escapes.

    def _expand(self, text: str, depth: int) -> str:
        """Replaces \\*(xx by its string; strings may hold strings, to a depth."""
        if "\\*" not in text or depth > _MAX_STRING_DEPTH or len(text) > 100_000:
            return text

        def value(match):
            key = match.group(1) or match.group(2) or match.group(3) or ""
            return self._expand(self._strings.get(key, ""), depth + 1)

        return STRING.sub(value, text)[:200_000]

    def _escapes(self, text: str) -> str:
        self._ends_continued = text.endswith("\\c")
        for special, shown in self._translated.items():
            text = text.replace(special, shown)
        return roff_escapes.replaced(text)

    def _table(self, waiting: Iterator[str]) -> None:
        self._flush()
        filled, self._fill = self._fill, False
        self._words = roff_tables.rows(
            waiting, arguments=self.arguments, shown=lambda c: self._escapes(self._expand(c, 0))
        )
        self._flush("table")
        self._fill = filled
        self._glued = False


STRING = re.compile(r"\\\*(?:\[([^\]\n]*)\]|\(([^\n]{2})|([^\n]))")  # its name
_CHARACTER = re.compile(r"\\\(..|\\\[[^\]\n]*\]|\\?.")
_SWITCHES = {
    "nf": lambda page: page.no_fill(True),
    "fi": lambda page: page.no_fill(False),
    "br": Page.line_break,
    "sp": Page.paragraph,
}
# Requests that set what plain text does not show.
IGNORED = frozenset(
    """ad bp ce cf cu fam fc fp ft hc hlm hy hw hym in it ll lf ls lt mk na ne nh nr ns nx po pl pn
    ps rm rn rr rs rt so ss sv ta tc ti tl ul vs wh while rj color defcolor char fchar do ec eo
    ev als aln nop pev pnr psbb schar shc sizes warn warnscale evc ftr ab ex mso ac cc c2 pm tm
    tm1 tmc hla kern lg""".split()
)
