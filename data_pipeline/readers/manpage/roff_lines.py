"""Lines of a roff page: requests, conditions, definitions, arguments."""

import collections
import operator
import re
from collections.abc import Iterator

from data_pipeline import document

# The quote of \*(L" is of a string's name.
_ARGUMENT = re.compile(r'[ \t]*(?:"((?:\\\*?\(..|[^"]|"")*)"?|((?:\\.|[^ \t\\])+))')
_SIGNS = {"=": operator.eq, "==": operator.eq, "<": operator.lt, "<=": operator.le,
          ">": operator.gt, ">=": operator.ge}  # fmt: skip
CONTROL = ".'"
CONDITIONS = frozenset({".if", ".ie", ".el", "'if", "'ie", "'el"})
BLANK = (" ", "\t")
_PARAMETER = re.compile(r"\\\$(?:([0-9*@])|\((\d\d))|\\n\((\.\$)")
_COMPARED = re.compile(r"(\d+)(?:([<>]=?|==?)(\d+))?(?![^\s\\])")
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
    compared = _COMPARED.match(rest.lstrip("!"))
    if compared:
        left, sign, right = compared.groups()
        return _SIGNS[sign or ">"](int(left), int(right or 0)) != negated
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


class Waiting:
    """The lines still to be read; those of a macro that is called are put before the others."""

    def __init__(self, lines: list[str]):
        self._lines = collections.deque(lines)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._lines:
            raise StopIteration
        return self._lines.popleft()

    def push(self, lines: list[str]) -> None:
        """Puts lines before all others."""
        self._lines.extendleft(reversed(lines))


def shows_arguments(body: list[str]) -> bool:
    """Whether a macro's definition puts its arguments into the text."""
    # An argument of any other request is a number, a margin, an index entry.
    return any("\\$" in line and _is_shown(line) for line in body)


def lays_out(body: list[str]) -> bool:
    """Whether a macro's definition begins or ends an example."""
    return any(is_request(line) and name_of(line)[0] in ("nf", "fi") for line in body)


def _is_shown(line: str) -> bool:
    while is_request(line):
        name, rest = name_of(line)
        if name not in ("if", "ie", "el"):
            return name in FONTS
        line = rest.lstrip() if name == "el" else _after_condition(rest)
        line = line.removeprefix("\\{").lstrip()
    return "\\$" in line


def called(body: list[str], arguments: list[str]) -> list[str]:
    """The lines of a macro's definition with its arguments in their places."""

    def argument(match: re.Match) -> str:
        key = match.group(1) or match.group(2) or match.group(3)
        if not key.isdigit():
            return str(len(arguments)) if key == ".$" else " ".join(arguments)
        return arguments[int(key) - 1] if 0 < int(key) <= len(arguments) else ""

    lines = []
    for line in body:
        line = line.replace("\\\\", "\\")
        shown = _PARAMETER.sub(argument, line)
        # An argument that begins with a dot is no request.
        lines.append(f"\\&{shown}" if line[:1] == "\\" and is_request(shown) else shown)
    return lines
