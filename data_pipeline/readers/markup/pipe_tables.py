"""Rows of Markdown's tables that have more cells than their heading: none is left out.

GitHub cuts such a row off; nearly always the bar that is too many stands in code: | `a|b` | c |.
"""

import re

from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

_CODE = re.compile(r"(?<![\\`])(`++)(.+?)(?<!`)\1(?!`)")
_BAR = re.compile(r"(?<!\\)\|")


def rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """markdown-it's own rule, with all cells of a row."""
    place = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    tokens = state.tokens[place:]
    columns = sum(token.type == "th_open" for token in tokens)
    for at in [at for at, token in enumerate(tokens) if token.type == "tr_open"][:0:-1]:
        first, last = tokens[at].map or (0, 0)
        line = state.getLines(first, last, state.blkIndent, False).strip()
        most = 1 + line.count("|") - line.startswith("|") - line.endswith("|")
        if most > columns and len(cells := _cells(line)) > columns:
            whole = _cells(_CODE.sub(lambda found: _BAR.sub(r"\\|", found.group()), line))
            cells = whole if len(whole) >= columns else cells
            behind = next(n for n in range(at, len(tokens)) if tokens[n].type == "tr_close")
            level = tokens[at].level + 1
            tokens[at + 1 : behind] = [
                Token("inline", "", 0, content=cell.strip(), children=[], level=level)
                for cell in cells
            ]
    state.tokens[place:] = tokens
    return True


def _cells(line: str) -> list[str]:
    cells = escapedSplit(line)
    return cells[not cells[0] : len(cells) - (not cells[-1])]
