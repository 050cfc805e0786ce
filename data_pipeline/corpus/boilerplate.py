"""What a source repeats in every document, by name; a registry says which apply to which source.

Every rule is anchored to a line, a heading or the document's end, so that a sentence that only
mentions the same words stays, and none joins two paragraphs. Code is a place in the text that no
rule looks into (clean.py). Each has a golden pair in the tests: this goes, that stays.
"""

import re
from collections.abc import Callable

# The longest statement of rights in an RFC has about 2,500 characters. What no heading ends within
# this is no such section: the title is kept with all that follows.
_MAX_SECTION_CHARS = 4_000


def _without_sections(
    text: str, titles: re.Pattern, is_heading: Callable[[str], object | None]
) -> str:
    """Cuts short sections from a title of `titles` to the next block that is a heading."""
    blocks = text.split("\n\n")
    kept, number = [], 0
    while number < len(blocks):
        end = number
        if titles.fullmatch(_first_line(blocks[number]).strip()):
            end = _section_end(blocks, number, is_heading)
        if end == number:
            kept.append(blocks[number])
            end += 1
        number = end
    return "\n\n".join(kept)


def _section_end(blocks: list[str], start: int, is_heading) -> int:
    """The block of the next heading, or the text's end; `start` where neither is near enough."""
    chars, number = len(blocks[start]), start + 1
    while number < len(blocks) and not is_heading(blocks[number]):
        chars += len(blocks[number])
        number += 1
        if chars > _MAX_SECTION_CHARS:
            break
    return number if chars <= _MAX_SECTION_CHARS else start


def _without_lines(text: str, pattern: re.Pattern) -> str:
    """Cuts the lines that match as a whole; a paragraph that has no others goes with them."""
    blocks = text.split("\n\n")
    kept = []
    for block in blocks:
        lines = block.split("\n")
        left = [line for line in lines if not pattern.fullmatch(line)]
        # An empty block that nothing was cut from stays: some texts are parted by two.
        if len(left) == len(lines) or any(left):
            kept.append("\n".join(left))
    return "\n\n".join(kept)


def _first_line(block: str) -> str:
    return block.lstrip("\n").partition("\n")[0]


# Old RFCs indent their headings and number them without a dot.
_RFC_NUMBER = (
    r"(?:\d+(?:\.\d+)*[.:]?|[A-Z](?:\.\d+)+\.?|[A-Z]\.|[IVX]+\.|(?:Appendix|Section) \w{1,3}[.:]?)"
)
_RFC_NUMBERED = re.compile(rf"[ \t]*{_RFC_NUMBER}[ \t]{{1,6}}\S.{{0,70}}")
_RFC_NAMED = re.compile(r"[A-Z][A-Za-z' ]{2,40}")
# "Copyright (C) The IETF Trust" stands alone like a heading, and is of the statement below one.
_RFC_INDENTED_NAME = re.compile(r"[ \t]*(?!Copyright \()[A-Z][A-Za-z0-9'&,/:() -]{2,60}")
_RFC_DROPPED = re.compile(
    r"(?:\d+\.?\s+)?(?:Status of this Memo|Copyright Notice|Full Copyright Statement|"
    r"Intellectual Property(?: Statement| Rights)?|Disclaimer of Validity|"
    r"Copyright Statement|Acknowledg(?:e)?ment of Funding|Disclaimer)\.?",
    re.IGNORECASE,
)
# A sentence of the RFC Editor's, below a heading of its own or at the end of another section.
_RFC_FUNDING = re.compile(
    r"\n\n(?:[ \t]*(?:\d+\.?[ \t]+)?Acknowledge?ments?\n\n)?"
    r"[ \t]*Funding for the RFC Editor function is[^.]*\.(?=\n\n|\n*\Z)"
)
_CONTENTS = re.compile(
    r"(?:\d+\.?\s+)?(?:Table of )?Contents(?: \(cont[^()]{0,9}\))?", re.IGNORECASE
)
_PAGE_NUMBER = re.compile(r"(?:[ .]*\.[ .]*\.[ .]*|[ \t]{2,})(?:\d{1,4}|[ivxlc]{1,6}|[A-Z]-\d+)\Z")


def _is_rfc_heading(block: str) -> bool:
    line = _first_line(block)
    # An indented name without a number is a heading only where it stands alone.
    return bool(
        _RFC_NUMBERED.fullmatch(line)
        or _RFC_NAMED.fullmatch(line)
        or _RFC_INDENTED_NAME.fullmatch(block.strip("\n"))
    )


def _without_contents(text: str) -> str:
    """Cuts tables of contents, as far as most lines of a block are entries and not further."""
    blocks = text.split("\n\n")
    kept, number = [], 0
    while number < len(blocks):
        end = number
        if _CONTENTS.fullmatch(_first_line(blocks[number]).strip()):
            end = _contents_end(blocks, number)
        if end == number:
            kept.append(blocks[number])
            end += 1
        number = end
    return "\n\n".join(kept)


def _contents_end(blocks: list[str], start: int) -> int:
    """The first block behind the entries below the title at `start`; `start` if there are none."""
    below = blocks[start].strip("\n").partition("\n")[2]
    number, end = start, start
    named, has_pages = set(), False
    if not below:
        number += 1
    while number < len(blocks):
        lines = (below if number == start else blocks[number].strip("\n")).split("\n")
        pages = [bool(_PAGE_NUMBER.search(line)) for line in lines]
        entries = [p or bool(_RFC_NUMBERED.fullmatch(x)) for p, x in zip(pages, lines, strict=True)]
        names = [" ".join(re.findall(r"\w+", line.lower())) for line in lines]
        # A table without page numbers ends where its first section begins: the same line again.
        is_more = any(pages) if has_pages or any(pages) else names[0] not in named
        number += 1
        if is_more and 2 * sum(entries) > len(lines):
            has_pages = has_pages or any(pages)
            named.update(names)
            end = number
        # One line between entries with pages is a heading in the table, such as APPENDICES.
        elif not has_pages or len(lines) > 1 or end < number - 1:
            break
    return end


def rfc(text: str) -> str:
    """Status, copyright, funding and contents of an RFC; its sections and references stay."""
    # Funding first: without it an acknowledgement that says nothing else has no heading left over.
    text = _RFC_FUNDING.sub("", text)
    return _without_contents(_without_sections(text, _RFC_DROPPED, _is_rfc_heading))


_PEP_COPYRIGHT = re.compile(
    r"\n+Copyright\n+This document (?:is|has been) (?:placed|released)[^\n]*(?:\n[^\n]+)*\s*\Z"
)
_EMACS = re.compile(r"\n+(?:\.\.\s*\n\s*)?Local Variables:\n(?:[^\n]*\n)*?[ \t]*End:\s*(?:\n|\Z)")


def pep(text: str) -> str:
    """A PEP's copyright section and its editor settings."""
    return _PEP_COPYRIGHT.sub("", _EMACS.sub("\n\n", text).removesuffix("\n\n"))


# Always the last sections, so that all behind the title goes; whom to mail about the page.
_MAN_COLOPHON = re.compile(r"\n+(?:COLOPHON|KOLOPHON|ÜBERSETZUNG|TRANSLATION)\n(?:.|\n)*\Z")
_MAN_SECTIONS = re.compile(
    r"(?:AUTHORS?|AUTOR(?:EN)?|COPYRIGHT|REPORTING BUGS|FEHLER MELDEN|DISTRIBUTION|LIZENZ)"
)
_MAN_HEADING = re.compile(r"[A-ZÄÖÜ][A-ZÄÖÜ0-9 ,()/&-]{2,60}")


def man(text: str) -> str:
    """Colophon, translators' note, authors, copyright and bug addresses of a man page."""
    text = _MAN_COLOPHON.sub("", text)
    return _without_sections(
        text, _MAN_SECTIONS, lambda block: _MAN_HEADING.fullmatch(_first_line(block))
    )


_MD_NAVIGATION = re.compile(
    r"(?:- )?(?:Back to (?:the )?(?:top|main page)|Edit (?:this page|on GitHub)|Table of contents|"
    r"Previous(?: page)?|Next(?: page)?|\[TOC\]|\[\[toc\]\])[ \t]*"
    r"|(?:(?:Build|Coverage|License|npm|CI|Slack|Docs?)[ -]?(?:Status|badge)[ \t]*)+",
    re.IGNORECASE,
)


def markdown(text: str) -> str:
    """Navigation lines and badges of a Markdown page."""
    return _without_lines(text, _MD_NAVIGATION)


# {% set a = b %}, {{ link("x", text="words") }}, {{< notice >}}, {: .class }; words between stay.
_TEMPLATE = re.compile(
    r"\{:[^{}\n]*\}|\{%-?[^{}%]*-?%\}|\{\{[<%][^{}]*[>%]\}\}|\{\{-?[ \t]*\w+\([^{}]*\)[ \t]*-?\}\}"
)
_TEMPLATE_TEXT = re.compile(r"\btext[ \t]*=[ \t]*\"([^\"]*)\"")


def templates(text: str) -> str:
    """Statements and calls of site generators (Jinja, Hugo), but for the text that one shows."""

    def shown(match: re.Match) -> str:
        found = _TEMPLATE_TEXT.search(match.group())
        return found.group(1) if found else ""

    blocks = []
    for block in text.split("\n\n"):
        lines = [(line, _TEMPLATE.sub(shown, line)) for line in block.split("\n")]
        left = [new for line, new in lines if new == line or new.strip(" -")]
        if left:
            blocks.append("\n".join(left))
    return "\n\n".join(blocks)


_MDN_MACRO_SECTIONS = frozenset(
    ("Specifications", "Browser compatibility", "Spezifikationen", "Browser-Kompatibilit\u00e4t")
)
_MDN_LINKS = frozenset(("See also", "Siehe auch"))


def mdn(text: str) -> str:
    """Headings whose tables were macros: nothing is left below them."""
    blocks = text.split("\n\n")
    kept = []
    for number, block in enumerate(blocks):
        # The end of the page counts as one: nothing is left below the heading there either.
        following = blocks[number + 1] if number + 1 < len(blocks) else "See also"
        if block in _MDN_MACRO_SECTIONS and following in _MDN_MACRO_SECTIONS | _MDN_LINKS:
            continue
        kept.append(block)
    return "\n\n".join(kept)


# Either alone stands in many texts, such as an article on copyright.
_LICENCE_WORDS = re.compile(
    r"licen[cs]ed? under|all rights reserved|redistribution and use|without warranty|"
    r"DO NOT ALTER OR REMOVE COPYRIGHT|SPDX-License-Identifier|permission is hereby granted",
    re.IGNORECASE,
)


def licence_header(text: str) -> str:
    """Licence notices in the first three paragraphs: each must speak of copyright and of terms."""
    blocks = text.split("\n\n")
    kept = [
        block
        for number, block in enumerate(blocks)
        if number >= 3  # further down it is what the page is about
        or not (
            _LICENCE_WORDS.search(block)
            and re.search(r"copyright|SPDX|\(c\)", block, re.IGNORECASE)
        )
    ]
    return "\n\n".join(kept)


_LAW_NOTES = re.compile(
    r"[ \t]*(?:\[?\d{1,3}\]?:? )?(?:Fassung gemäss|Eingefügt durch|Aufgehoben durch|"
    r"Bereinigt gemäss|Ursprünglich|Amended by|Inserted by|Repealed by)\s+"
    r"(?:Ziff\.|Art\.|Anhang|the |No |Annex|Number|Schedule)[^\n]*?"
    r"(?:in Kraft seit|in force since|mit Wirkung seit|with effect from)[^\n]*"
    r"|[ \t]*(?:\d{1,3} )?(?:SR|AS|BBl|RS) \*{0,2}[\d.]+[\d .;,*A-Z]*\.?"
)
_LAW_GAZETTE = re.compile(r"[ \t]*\((?:AS|RO|BBl|FF) \d{4} [^()\n]{1,60}\)")


def swiss_law(text: str) -> str:
    """Amendment notes and gazette references of a Swiss law; its provisions stay."""
    return _without_lines(_LAW_GAZETTE.sub("", text), _LAW_NOTES)


_NOTE = re.compile(r"^\[\^\w{1,9}\]: .*(?:\n(?!\[\^).*)*\n?", re.MULTILINE)
_NOTE_MARK = re.compile(r"[ \t]?\[\^\w{1,9}\]")
_ROW_RULE = re.compile(r"\|[ \t|:-]*")
_ROW = re.compile(r"^\|[ \t]*(.*?)[ \t]*\|?$", re.MULTILINE)


def law_markdown(text: str) -> str:
    """Footnotes of a law in Markdown, and what is left of tables and bold that do not parse."""
    text = _NOTE_MARK.sub("", _without_notes(text))
    return _ROW.sub(r"\1", _without_lines(text, _ROW_RULE)).replace("**", "")


def _without_notes(text: str) -> str:
    blocks = text.split("\n\n")
    kept = []
    for number, block in enumerate(blocks):
        left = _NOTE.sub("", block).rstrip("\n")
        is_title = block == "Fussnoten" and _NOTE.match("".join(blocks[number + 1 : number + 2]))
        if left and not is_title:
            kept.append(left if left != block.rstrip("\n") else block)
    return "\n\n".join(kept)


_SPHINX_SOURCE = re.compile(r"Source code: \S+")


def sphinx(text: str) -> str:
    """Links to source files, which are not in the text."""
    return _without_lines(text, _SPHINX_SOURCE)


RULES: dict[str, Callable[[str], str]] = {
    "law_markdown": law_markdown,
    "licence_header": licence_header,
    "man": man,
    "markdown": markdown,
    "mdn": mdn,
    "pep": pep,
    "rfc": rfc,
    "sphinx": sphinx,
    "swiss_law": swiss_law,
    "templates": templates,
}
