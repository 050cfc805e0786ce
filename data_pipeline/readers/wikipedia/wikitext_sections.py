"""Rendered wikitext -> paragraphs below headings, without sections that hold nothing to read."""

import re

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
_SPACES = re.compile(r"[ \t\u00a0]+")


def tidy(text: str) -> str:
    """Mends what removed templates leave behind, drops sections that hold only references.

    A heading is a line of U+0001, its level as one digit, and its title.
    """
    blocks: list[str] = []
    skipping = False
    for line in text.translate({0: None, 0xAD: None}).split("\n"):
        if line.startswith("\x01"):
            level, title = line[1:2], _line(line[2:].replace("\x01", ""))
            skipping = title.lower().rstrip(":") in _DROPPED_SECTIONS
            if not skipping:
                blocks.append(f"\x01{level}{title}")
            continue
        line = _line(line.replace("\x01", ""))
        if skipping:
            continue
        if not line or line in ("-", "|", "}}", "{{"):
            if blocks and blocks[-1]:
                blocks.append("")
        elif line.startswith("- ") and blocks and blocks[-1].startswith("- "):
            blocks[-1] += "\n" + line
        else:
            blocks.append(line)
    return "\n\n".join(_without_empty_sections([block for block in blocks if block]))


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
    line = _EMPTY_PARENS.sub("", line)
    line = _LEFT_IN_PARENS.sub("(", line)
    return _SPACE_BEFORE.sub(r"\1", _SPACES.sub(" ", line)).strip()
