"""Cutting long texts where a reader would: at blank lines, else line ends, else spaces."""

import re
from collections.abc import Iterator

# Longer documents are cut: it bounds memory, and an end-of-text per quarter million tokens is rare.
MAX_DOCUMENT_CHARS = 1_000_000

_BLANK_LINES = re.compile(r"\n[ \t]*\n+")


def cut(text: str, *, target_chars: int) -> Iterator[str]:
    """Yields pieces of about half to the whole of `target_chars`, cut where it hurts least.

    Line ends around a cut are dropped, indentation is kept. A text that fits is yielded as it is.
    """
    start = 0
    while len(text) - start > target_chars:
        end, following = _cut_point(text, start, start + target_chars)
        piece = text[start:end].strip("\n")
        if piece:
            yield piece
        start = following
    rest = text[start:] if start == 0 else text[start:].strip("\n")
    if rest:
        yield rest


def _cut_point(text: str, start: int, limit: int) -> tuple[int, int]:
    """Returns (end of this piece, start of the next): the last good place in the second half."""
    middle = (start + limit) // 2
    found = None
    for blank in _BLANK_LINES.finditer(text, middle, limit):
        found = blank
    if found:
        return found.start(), found.end()
    line_end = text.rfind("\n", middle, limit)
    if line_end >= 0:
        return line_end, line_end + 1
    space = text.rfind(" ", middle, limit)
    if space >= 0:
        return space, space  # the space stays: in GPT-2's BPE it belongs to the word behind it
    return limit, limit
