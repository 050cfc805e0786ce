"""Formatting codes inside a paragraph of Perl's POD -> text: B<bold>, C<< a->b >>, L<text|target>.

Described in perlpodspec; what they show is what pod2text shows, without its quotes around code.
"""

import html
import re

from data_pipeline import document
from data_pipeline.readers import marks

# The end of a code that several brackets opened stands behind a blank.
_TOKEN = re.compile(
    r"(?P<code>[A-Z])<(?:(?P<more><+)(?=\s))?|(?P<ends>\s*+>+)|[A-Z]|[^A-Z\s>]+|\s+"
)
_ESCAPE = re.compile(r"E<\s*([\w]+)\s*>")
_SPACES = re.compile(r"\s+")
_URL = re.compile(r"[a-z][a-z+.-]*:[^\s:]", re.IGNORECASE)
_MAX_DEPTH = 50  # deeper codes are text
_NAMED = {"verbar": "|", "sol": "/", "lchevron": "\u00ab", "rchevron": "\u00bb"}


class _Code:
    """A code that is open: its letter, how many brackets end it, and its parts so far.

    The end of what is before the first bar that was written as such is `bar`.
    """

    def __init__(self, letter: str, ends: int):
        self.letter, self.ends = letter, ends
        self.parts: list[str] = []
        self.bar: int | None = None


def shown(text: str, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns a paragraph's text, code marked; `left_out` hears of index entries and targets."""
    if "<" not in text:
        return text
    stack = [_Code("", 0)]
    place = 0
    while found := _TOKEN.match(text, place):
        place, top = found.end(), stack[-1]
        if found["code"] and len(stack) < _MAX_DEPTH:
            stack.append(_Code(found["code"], 1 + len(found["more"] or "")))
        elif found["ends"]:
            brackets = found["ends"].lstrip()
            blank = found["ends"][: -len(brackets)]
            if len(stack) == 1 or len(brackets) < top.ends or (top.ends > 1 and not blank):
                top.parts.append(found["ends"])
                continue
            if top.ends == 1:
                top.parts.append(blank)
            place = found.end() - len(brackets) + top.ends
            _close(stack, left_out)
        else:
            if top.letter == "L" and top.bar is None and "|" in found.group():
                before, _, _ = found.group().partition("|")
                top.parts += [before, found.group()[len(before) :]]
                top.bar = len(top.parts) - 1
            else:
                top.parts.append(found.group())
    while len(stack) > 1:  # a code that nothing ends goes on to the end of the paragraph
        _close(stack, left_out)
    return "".join(stack[0].parts)


def unescaped(text: str) -> str:
    """Returns the text with characters for their names, E<eacute>."""
    return _ESCAPE.sub(lambda found: _character(found.group(1)), text) if "E<" in text else text


def _close(stack: list[_Code], left_out: document.LeftOut) -> None:
    code = stack.pop()
    text = "".join(code.parts)
    if code.ends > 1:
        text = text.strip()
    if code.letter == "C":
        text = marks.code(_SPACES.sub(" ", text))
    elif code.letter == "E":
        text = _character(text.strip())
    elif code.letter == "X":
        left_out("markup/index", marks.unmarked(text))
        text = ""
    elif code.letter == "Z":
        text = ""
    elif code.letter == "L" and code.bar is not None:
        left_out("markup/link_targets", marks.unmarked("".join(code.parts[code.bar :])))
        text = "".join(code.parts[: code.bar]).strip()
    elif code.letter == "L":
        text = _link(_SPACES.sub(" ", text).strip())
    stack[-1].parts.append(text)


def _link(target: str) -> str:
    """How a link without a text of its own reads: "section" in page."""
    if _URL.match(target):
        return target
    page, slash, section = target.partition("/")
    if not slash:
        is_section = page.startswith('"') or (" " in page and "(" not in page)
        page, section = ("", page) if is_section else (page, "")
    section = section.removeprefix('"').removesuffix('"')
    if page and section:
        return f'"{section}" in {page}'
    return f'"{section}"' if section else page


def _character(name: str) -> str:
    """The character of a name or a number (0x20AC, 0251, 181); an unknown name as it is written."""
    if name in _NAMED:
        return _NAMED[name]
    if re.fullmatch(r"0x[0-9a-fA-F]{1,6}|0[0-7]{1,7}|[1-9][0-9]{0,6}", name):
        base = 16 if name[1:2] == "x" else 8 if name[0] == "0" else 10
        number = int(name, base)
        is_text = 0x20 <= number < 0x110000 and not 0xD800 <= number < 0xE000
        return chr(number) if is_text else f"E<{name}>"
    found = html.unescape(f"&{name};")
    return found if len(found) <= 2 else f"E<{name}>"
