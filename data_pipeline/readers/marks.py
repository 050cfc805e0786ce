"""Marks inside a reader's text that cleaning takes out again: which part of it is code.

They are noncharacters, which Unicode keeps for a program's own use: no file holds them as text.
"""

import re

_CODE, _END = "\ufdd0", "\ufdd1"
_SPAN = re.compile(f"({_CODE}[^{_END}]*{_END})")
_LINES = re.compile(f"[ ]?({_CODE}[^\n{_END}]*\n[^{_END}]*{_END})[ ]?")
_SPACES = re.compile(r"[ \t\r\f\v\n]+")
_NONE = dict.fromkeys(map(ord, (_CODE, _END)))
# Ten more noncharacters: the digits of a place where code was.
_DIGITS = {ord(str(digit)): 0xFDE0 + digit for digit in range(10)}
_NUMBERS = {place: chr(digit) for digit, place in _DIGITS.items()}
_PLACE = re.compile("\ufddf([\ufde0-\ufde9]{1,9})")


def code(text: str) -> str:
    """Marks text that stands as it was written; blank text is left as it is."""
    return f"{_CODE}{text.translate(_NONE)}{_END}" if text.strip() else text


def unmarked(text: str) -> str:
    """Returns the text without marks."""
    return text.translate(_NONE) if _CODE in text or _END in text else text


def folded(text: str) -> str:
    """Returns the text on one line, white space folded, but for its code."""
    return spaced(text).strip()


def spaced(text: str) -> str:
    """Returns the text with a blank for each white space, but for its code."""
    if _CODE not in text:
        return _SPACES.sub(" ", text)
    parts = _SPAN.split(text)
    parts[::2] = [_SPACES.sub(" ", part) for part in parts[::2]]
    return "".join(parts)


def row(cells: list[str]) -> str:
    """Returns a row of a table on one line; code of several lines keeps them, in its place."""
    return _LINES.sub(r"\n\1\n", " | ".join(map(folded, cells))).strip("\n")


def set_aside(text: str) -> tuple[str, list[str]]:
    """Replaces each code by a place that is no word; returns the pieces for `restored`."""
    if _CODE not in text:
        return text, []
    parts = _SPAN.split(text)
    pieces = [piece[1:-1] for piece in parts[1::2]]
    parts[1::2] = ["\ufddf" + str(number).translate(_DIGITS) for number in range(len(pieces))]
    return "".join(parts), pieces


def restored(text: str, pieces: list[str]) -> str:
    """Puts the pieces back whose places are still there, and removes all marks."""

    def piece(match):
        number = int(match.group(1).translate(_NUMBERS))
        return pieces[number] if number < len(pieces) else ""

    return unmarked(_PLACE.sub(piece, text) if pieces else text)
