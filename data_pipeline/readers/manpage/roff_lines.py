"""Lines of a roff page: requests, conditions, definitions, arguments."""

import re
from collections.abc import Iterator

from data_pipeline import document

# The quote of \*(L" is of a string's name.
_ARGUMENT = re.compile(r'[ \t]*(?:"((?:\\\*?\(..|[^"]|"")*)"?|((?:\\.|[^ \t\\])+))')
CONTROL = ".'"
CONDITIONS = frozenset({".if", ".ie", ".el", "'if", "'ie", "'el"})
BLANK = (" ", "\t")
_NAME = re.compile(r"[.'][ \t]*([^\s\\]*)")
FONTS = frozenset("B I R SM SB BI BR IB IR RB RI".split())
COMMENT = re.compile(r"(?<!\\)\\[\"#].*")


def joined(line: str, waiting: Iterator[str]) -> str:
    """Joins a line that ends in a single backslash with those that follow."""
    while line.endswith("\\") and not line.endswith("\\\\") and len(line) < 100_000:
        line = line[:-1] + next(waiting, "")
    return line


def name_of(line: str) -> tuple[str, str]:
    """Splits ".name arguments"; roff allows spaces after the dot."""
    match = _NAME.match(line)
    assert match, line  # is_request
    return match.group(1), line[match.end() :]


def resolved(
    line: str, waiting: Iterator[str], held: list[bool], left_out: document.LeftOut
) -> tuple[str, int]:
    """Resolves conditions at the start of a line: what is left of it, and the braces it opened.

    `held` is which of the open .ie hold; each .el ends one.
    """
    opened = 0
    while is_request(line):
        name, rest = name_of(line)
        if name not in ("if", "ie", "el"):
            break
        if name == "el":
            holds, rest = bool(held) and not held.pop(), rest.lstrip()
        else:
            holds, rest = _condition(rest), _after_condition(rest)
            if name == "ie":
                held.append(holds)
        if not holds:
            left_out("markup/conditions", "\n".join([line, *_skip_braces(rest, waiting)]))
            return ".", opened
        if rest.startswith("\\{"):
            opened += 1
            rest = rest[2:].lstrip()
        line = rest or "."
    return line, opened


def is_request(line: str) -> bool:
    """Whether the line is a request or macro call, not text."""
    return line[:1] in (".", "'") and len(line) > 1


def is_comment(line: str) -> bool:
    """Whether nothing of the line is ever shown."""
    return line.startswith(('.\\"', "'\\\"", "'''", ".\\#")) or line.strip() in (".", "'")


def split_arguments(text: str) -> list[str]:
    """Splits a macro's arguments at spaces outside of double quotes."""
    found = []
    for quoted, word in _ARGUMENT.findall(text):
        found.append(quoted.replace('""', '"') if quoted or not word else word)
    return found


def _condition(rest: str) -> bool:
    """Whether a condition holds for plain output: n yes, t no, all that is computed no."""
    rest = rest.lstrip()
    negated = rest.startswith("!")
    word = rest.lstrip("!")[:1]
    return (word == "n") != negated


def _after_condition(rest: str) -> str:
    """What stands behind the condition on its line."""
    rest = rest.lstrip().lstrip("!")
    if rest[:1] in ("'", '"'):
        quote = rest[0]
        parts = rest.split(quote, 3)
        return parts[3].lstrip() if len(parts) == 4 else ""
    if rest[:1] in ("n", "t", "o", "e") and rest[1:2] in (" ", "\\", "\t", "."):
        return rest[1:].lstrip()
    depth = 0
    for position, character in enumerate(rest):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif depth <= 0 and (character in " \t" or rest.startswith("\\{", position)):
            return rest[position:].lstrip()
    return ""


def _skip_braces(rest: str, waiting: Iterator[str]) -> list[str]:
    """Takes the lines up to the brace that closes, and returns them."""
    taken: list[str] = []
    depth = rest.count("\\{") - rest.count("\\}")
    while depth > 0 and (line := next(waiting, None)) is not None:
        taken.append(line)
        depth += line.count("\\{") - line.count("\\}")
    return taken


def skip_to(waiting: Iterator[str], end: str) -> list[str]:
    """Takes the lines up to `end`, and returns them."""
    taken: list[str] = []
    for line in waiting:
        if line.startswith(end) and line.rstrip() == end:
            break
        taken.append(line)
    return taken


def shows_arguments(body: list[str]) -> bool:
    """Whether a macro's definition puts its arguments into the text."""
    # An argument of any other request is a number, a margin, an index entry.
    return any(
        "\\$" in line and (not is_request(line) or name_of(line)[0] in FONTS) for line in body
    )
