"""Footnotes of Markdown, as GitHub has them: Text[^a], and below it [^a]: what the note says.

The marks go, as all marks of notes do, and the note's text stays where it is. What no page refers
to is none: [^a-z]: in a page about patterns.
"""

import collections
import re

from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

_MARK = re.compile(r"\[\^([^\]\[\s^]{1,60})\]")
_ENDS = re.compile(r"[\s.,;:!?)]|\Z")


def block_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A note: a container of blocks, indented by four, behind its mark."""
    begin = state.bMarks[start] + state.tShift[start]
    found = _MARK.match(state.src, begin, state.eMarks[start])
    if not found or state.src[found.end() : found.end() + 1] != ":":
        return False
    if state.is_code_block(start) or state.parentType == "footnote" or not state.env["notes"]:
        return False
    if "marks" not in state.env:
        state.env["marks"] = collections.Counter(_MARK.findall(state.src))
    if state.env["marks"][found.group(1)] < 2:
        return False
    if not silent:
        state.env.setdefault("footnotes", set()).add(found.group(1))
        state.env["left_out"]("note_marks", found.group(1))
        _blocks(state, start, end, found.end() + 1)
    return True


def _blocks(state: StateBlock, start: int, end: int, place: int) -> None:
    """Reads the note's blocks, the first of which begins at a place in its first line."""
    kept = state.bMarks[start], state.tShift[start], state.sCount[start], state.parentType
    state.bMarks[start] = place
    state.tShift[start] = next(
        (at - place for at in range(place, state.eMarks[start]) if state.src[at] not in " \t"), 0
    )
    state.blkIndent += 4
    state.sCount[start] = state.blkIndent
    state.parentType = "footnote"
    state.md.block.tokenize(state, start, end)
    state.blkIndent -= 4
    state.bMarks[start], state.tShift[start], state.sCount[start], state.parentType = kept


def inline_rule(state: StateInline, silent: bool) -> bool:
    """The mark of a note that there is."""
    if not state.src.startswith("[^", state.pos) or not state.env.get("footnotes"):
        return False
    found = _MARK.match(state.src, state.pos, state.posMax)
    if not found or found.group(1) not in state.env["footnotes"]:
        return False
    if not silent:
        state.env["left_out"]("note_marks", found.group(1))
        if _ENDS.match(state.src, found.end()):
            state.pending = state.pending.rstrip(" ")
    state.pos = found.end()
    return True
