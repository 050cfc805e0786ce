"""A text without what is written around its words: tags, entities, escapes, link targets, numbers.

Their letters are letters to letters.py, and would part a passage of HTML, of a JSON string, of
Markdown or of a listing with numbered lines.
"""

import html
import html.entities
import re
from collections.abc import Callable

from data_pipeline.similarity import grams

_TAG = re.compile(r"/?[A-Za-z!?][^<>]{0,300}>")
_ENTITY = re.compile(r"(?:[A-Za-z]{2,8}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_TARGET = re.compile(r"[^()\s]{1,300}\)")
_NOTE = re.compile(r"[0-9]{1,3}\]")
_ESCAPE = re.compile(r'\\(?:[nrtbf"/\\]|u[0-9a-fA-F]{4})')
_LINE_NUMBER = re.compile(rf"\n[ \t{grams.JOINT}]*([0-9]{{1,6}})[.:|)]?[ \t]")
_LEAST_LINES = 2  # one after another that are numbered on


def taken_off(text: str) -> str:
    """Returns the text with a blank, or the character that is meant, for each of them."""
    return marked(text).replace(grams.JOINT, "")


def marked(text: str) -> str:
    """Returns the text like that, with a joint (grams.py) at each."""
    text = _replaced(text, "<", _TAG, _blank)
    text = _replaced(text, "&", _ENTITY, _entity)
    if "\\" in text:
        text = _ESCAPE.sub(_escape, text)
    text = _replaced(text, "](", _TARGET, _blank)
    text = _replaced(text, "[", _NOTE, _blank)
    return _without_numbers(text)


def _replaced(text: str, opening: str, rest: re.Pattern, meant: Callable[[str], str | None]) -> str:
    """Puts what is meant for each opening with the rest behind it, which holds no opening.

    A string is parted ten times as fast as a pattern is looked for.
    """
    first, *parts = text.split(opening)
    if not parts:
        return text
    out = [first]
    for part in parts:
        found = rest.match(part)
        new = meant(found[0]) if found else None
        out.append(opening + part if new is None else new + part[found.end() :])
    return "".join(out)


def _without_numbers(text: str) -> str:
    runs: list[list[re.Match]] = []
    for found in _LINE_NUMBER.finditer(text):
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and int(found[1]) == int(last[1]) + 1
            and text.find("\n", last.end(), found.start() + 1) == found.start()
        ):
            runs[-1].append(found)
        else:
            runs.append([found])
    parts, end = [], 0
    for found in (one for run in runs if len(run) >= _LEAST_LINES for one in run):
        parts.append(text[end : found.start()])
        end = found.end()
    return f"\n{grams.JOINT}".join([*parts, text[end:]]) if parts else text


def _blank(piece: str) -> str:
    return " " + grams.JOINT


def _entity(piece: str) -> str | None:
    # html.unescape knows older names without their end: &nothing; is no &not;
    if piece[0] != "#" and piece not in html.entities.html5:
        return None
    return _joined(html.unescape("&" + piece))


def _escape(found: re.Match) -> str:
    piece = found[0]
    return _joined(chr(int(piece[2:], 16))) if piece[1] == "u" else _blank(piece)


def _joined(text: str) -> str:
    return f"{grams.JOINT}{text}{grams.JOINT}"
