"""Rendered wikitext -> paragraphs below headings, without sections that hold nothing to read."""

import re

from data_pipeline import document
from data_pipeline.readers import superscripts

# Sections that are lists of links or literature. English, then German.
_DROPPED_SECTIONS = frozenset(
    "references|external links|see also|further reading|notes|footnotes|bibliography|sources|"
    "notes and references|references and notes|citations|literature cited|gallery|"
    "einzelnachweise|weblinks|siehe auch|literatur|anmerkungen|quellen|fussnoten|belege".split("|")
)
# "word ()" is left by a template; "main()" names a function.
_EMPTY_PARENS = re.compile(r"(?:^|[ \u00a0])\([\s,;:/\u2013-]{0,20}\)|\([\s,;:/\u2013-]{1,20}\)")
_LEFT_IN_PARENS = re.compile(r"\([ \u00a0]*[,;:][\s,;:]{0,20}")
_SPACE_BEFORE = re.compile(r"[ \t\u00a0]+([,.;:!?)])")
_EMPTY_ITEM = re.compile(r"\d+\.")
_MARKS = dict.fromkeys((1, 4, 5, 6))
_SPACES = re.compile(r"[ \t\u00a0]+")


def tidy(text: str, left_out: document.LeftOut = document.uncounted) -> str:
    """Mends what removed templates leave behind, drops sections that hold only references.

    A heading is a line of U+0001, its level as one digit, and its title; marks of lists are those
    of wikitext_source.
    """
    blocks: list[str] = []
    dropped: list[str] | None = None  # of a section that is dropped
    kind = ""  # of the last line: item, term, text
    for line in text.translate({0: None, 0xAD: None}).split("\n"):
        line = superscripts.shown(line, left_out)
        if line.startswith("\x01"):
            kind = ""
            level, title = line[1:2], _line(line[2:])
            if dropped is not None:
                left_out("sections", "\n".join(dropped))
            is_kept = title.lower().rstrip(":") not in _DROPPED_SECTIONS
            dropped = None if is_kept else [title]
            if is_kept:
                blocks.append(f"\x01{level}{title}")
            continue
        mark, depth = line[:1], len(line) - len(line.lstrip("\x04"))
        line = _line(line)
        if dropped is not None:
            dropped.append(line)
        elif not line or line in ("-", "|", "}}", "{{") or (depth and _EMPTY_ITEM.fullmatch(line)):
            kind = "" if not line else kind
        elif depth and kind == "item":
            blocks[-1] += f"\n{'  ' * (depth - 1)}{line}"
        elif mark == "\x06" and kind == "term":
            blocks[-1] += f"\n    {line}"
        else:
            kind = "item" if depth else "term" if mark == "\x05" else "text"
            blocks.append("  " * (depth - 1) + line)
    if dropped is not None:
        left_out("sections", "\n".join(dropped))
    return "\n\n".join(_without_empty_sections(blocks))


def _without_empty_sections(blocks: list[str]) -> list[str]:
    """Removes headings that nothing follows: their section was a table or a list of templates."""
    kept: list[str] = []
    deepest = 0  # level of the heading that stands next in `kept`; 9 for text, 0 for the end
    for block in reversed(blocks):
        if not block.startswith("\x01"):
            kept.append(block)
            deepest = 9
        elif int(block[1]) < deepest and len(block) > 2:
            kept.append(block[2:])
            deepest = int(block[1])
    return kept[::-1]


def _line(line: str) -> str:
    line = line.translate(_MARKS)
    line = _EMPTY_PARENS.sub("", line)
    line = _LEFT_IN_PARENS.sub("(", line)
    return _SPACE_BEFORE.sub(r"\1", _SPACES.sub(" ", line)).strip()
