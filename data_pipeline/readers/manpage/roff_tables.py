"""tbl(1): rows become lines, cells are separated by a bar."""

import re
from collections.abc import Callable, Iterator

from data_pipeline.readers.manpage import roff_lines

_MAX_ROWS = 100_000
_TAB = re.compile(r"tab\s*\((.)\)")
_RULES = ("_", "=", "\\^", "^")  # drawn lines, and cells that span the one above
_JOINED_FONTS = frozenset("BI BR IB IR RB RI".split())


def rows(
    waiting: Iterator[str],
    *,
    arguments: Callable[[str], list[str]],
    shown: Callable[[str], str],
) -> list[str]:
    """Takes the lines up to .TE; `arguments` splits those of a macro, `shown` resolves escapes."""
    separator, found = _rows(waiting, arguments)
    lines = []
    for row in found[:_MAX_ROWS]:
        cells = [" ".join(shown(cell).split()) for cell in row.split(separator)]
        cells = [cell for cell in cells if cell not in _RULES]
        if any(cells):
            lines.append(" | ".join(cells))
    return lines


def _rows(waiting: Iterator[str], arguments: Callable[[str], list[str]]) -> tuple[str, list[str]]:
    """Returns the separator of cells and the rows as written, each block of text in its row."""
    separator, found, in_format, first = "\t", [], True, True
    block: list[str] | None = None
    for line in waiting:
        if line.startswith(".TE"):
            break
        is_options = first and line.rstrip().endswith(";")
        first = False
        if is_options:
            tab = _TAB.search(line)
            separator = tab.group(1) if tab else "\t"
        elif in_format:
            in_format = not line.rstrip().endswith(".")
        elif line.startswith(".T&"):
            in_format = True
        elif block is not None and line.startswith("T}"):
            found[-1] += " ".join(block) + line[2:]
            block = None
            if line.rstrip().endswith("T{"):
                found[-1], block = found[-1].rstrip()[:-2], []
        elif block is not None and not roff_lines.is_request(line):
            block.append(line)
        elif block is not None:
            if not roff_lines.is_comment(line):
                name, rest = roff_lines.name_of(line)
                block.append(("" if name in _JOINED_FONTS else " ").join(arguments(rest)))
        elif not roff_lines.is_request(line) and line.strip() not in ("_", "=", ""):
            found.append(line)
            if line.rstrip().endswith("T{"):
                found[-1], block = line.rstrip()[:-2], []
    return separator, found
