"""What a source repeats in every document, by name; a registry says which apply to which source.

Every rule is anchored to a line, a heading or the document's end, so that a sentence that only
mentions the same words stays. Each has a golden pair in the tests: this goes, that stays.
"""

import re
from collections.abc import Callable


def _without_sections(text: str, titles: re.Pattern, heading: re.Pattern) -> str:
    """Cuts sections from a title of `titles` to the next line that `heading` matches."""
    kept, skipping = [], False
    for block in text.split("\n\n"):
        first = block.partition("\n")[0]
        if titles.fullmatch(first.strip()):
            skipping = True
        elif skipping and heading.fullmatch(first):
            skipping = False
        if not skipping:
            kept.append(block)
    return "\n\n".join(kept)


_RFC_HEADING = re.compile(
    r"(?:\d+\.(?:\d+\.?)*|[A-Z]\.|Appendix [A-Z][.:]?) {1,3}\S.{0,70}|[A-Z][A-Za-z' ]{2,40}"
)
_RFC_DROPPED = re.compile(
    r"(?:\d+\.\s+)?(?:Status of (?:this|This) Memo|Copyright Notice|Full Copyright Statement|"
    r"Intellectual Property(?: Statement| Rights)?|Table of Contents|Disclaimer of Validity|"
    r"Copyright Statement|Acknowledg(?:e)?ment of Funding|Disclaimer)\.?",
    re.IGNORECASE,
)
_DOT_LEADER = re.compile(r"^.*(?:\. ?){5,}\s*\w{1,5}\s*$\n?", re.MULTILINE)


def rfc(text: str) -> str:
    """Status, copyright and contents pages of an RFC; its sections and references stay."""
    text = _without_sections(text, _RFC_DROPPED, _RFC_HEADING)
    return _DOT_LEADER.sub("", text)


_PEP_COPYRIGHT = re.compile(
    r"\n+Copyright\n+This document (?:is|has been) (?:placed|released)[^\n]*(?:\n[^\n]+)*\s*\Z"
)
_EMACS = re.compile(r"\n+(?:\.\.\s*\n\s*)?Local Variables:\n(?:.*\n?)*?\s*End:\s*", re.MULTILINE)


def pep(text: str) -> str:
    """A PEP's copyright section and its editor settings."""
    return _PEP_COPYRIGHT.sub("", _EMACS.sub("", text))


_MAN_COLOPHON = re.compile(r"\n+(?:COLOPHON|KOLOPHON|ÜBERSETZUNG|TRANSLATION)\n(?:.|\n)*\Z")
_MAN_SECTIONS = re.compile(
    r"(?:AUTHORS?|AUTOR(?:EN)?|COPYRIGHT|REPORTING BUGS|FEHLER MELDEN|DISTRIBUTION|LIZENZ)"
)
_MAN_HEADING = re.compile(r"[A-ZÄÖÜ][A-ZÄÖÜ0-9 ,()/&-]{2,60}")


def man(text: str) -> str:
    """Colophon, translators' note, authors, copyright and bug addresses of a man page."""
    text = _MAN_COLOPHON.sub("", text)
    return _without_sections(text, _MAN_SECTIONS, _MAN_HEADING)


_MD_NAVIGATION = re.compile(
    r"^(?:- )?(?:Back to (?:the )?(?:top|main page)|Edit (?:this page|on GitHub)|Table of contents|"
    r"Previous(?: page)?|Next(?: page)?|\[TOC\]|\[\[toc\]\])\s*$\n?",
    re.IGNORECASE | re.MULTILINE,
)
_BADGES = re.compile(
    r"^(?:(?:Build|Coverage|License|npm|CI|Slack|Docs?)[ -]?(?:Status|badge)\s*)+$\n?", re.M
)


def markdown(text: str) -> str:
    """Navigation lines and badges of a Markdown page."""
    return _BADGES.sub("", _MD_NAVIGATION.sub("", text))


_MDN_MACRO_SECTIONS = frozenset(
    ("Specifications", "Browser compatibility", "Spezifikationen", "Browser-Kompatibilit\u00e4t")
)
_MDN_LINKS = frozenset(("See also", "Siehe auch"))


def mdn(text: str) -> str:
    """Headings whose tables were macros: nothing is left below them."""
    blocks = text.split("\n\n")
    kept = []
    for number, block in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else "See also"
        if block in _MDN_MACRO_SECTIONS and following in _MDN_MACRO_SECTIONS | _MDN_LINKS:
            continue
        kept.append(block)
    return "\n\n".join(kept)


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
        if number >= 3
        or not (
            _LICENCE_WORDS.search(block)
            and re.search(r"copyright|SPDX|\(c\)", block, re.IGNORECASE)
        )
    ]
    return "\n\n".join(kept)


_LAW_EDITORIAL = re.compile(
    r"^[ \t]*(?:\[?\^?\d{1,3}\]?:? )?(?:Fassung gemäss|Eingefügt durch|Aufgehoben durch|"
    r"Bereinigt gemäss|Ursprünglich|Amended by|Inserted by|Repealed by)\s+"
    r"(?:Ziff\.|Art\.|Anhang|the |No |Annex|Number|Schedule)[^\n]*?"
    r"(?:in Kraft seit|in force since|mit Wirkung seit|with effect from)[^\n]*$\n?",
    re.MULTILINE,
)
_LAW_GAZETTE = re.compile(r"[ \t]*\((?:AS|RO|BBl|FF) \d{4} [^()\n]{1,60}\)")
_LAW_FOOTNOTE = re.compile(
    r"^[ \t]*(?:\d{1,3} )?(?:SR|AS|BBl|RS) \*{0,2}[\d.]+[\d .;,*A-Z]*\.?$\n?", re.M
)


def swiss_law(text: str) -> str:
    """Amendment notes and gazette references of a Swiss law; its provisions stay."""
    text = _LAW_EDITORIAL.sub("", text)
    return _LAW_FOOTNOTE.sub("", _LAW_GAZETTE.sub("", text))


_NOTES_SECTION = re.compile(r"^Fussnoten\n+(?=\[\^\d)", re.MULTILINE)
_NOTE = re.compile(r"^\[\^\w{1,9}\]: .*(?:\n(?!\n|\[\^).*)*\n*", re.MULTILINE)
_NOTE_MARK = re.compile(r"[ \t]?\[\^\w{1,9}\]")
_ROW_RULE = re.compile(r"^\|[ \t|:-]*$\n?", re.MULTILINE)
_ROW = re.compile(r"^\|[ \t]*(.*?)[ \t]*\|?$", re.MULTILINE)


def law_markdown(text: str) -> str:
    """Footnotes of a law in Markdown, and what is left of tables and bold that do not parse."""
    text = _NOTE_MARK.sub("", _NOTE.sub("", _NOTES_SECTION.sub("", text)))
    return _ROW.sub(r"\1", _ROW_RULE.sub("", text)).replace("**", "")


_SPHINX_SOURCE = re.compile(r"^Source code: \S+$\n*", re.MULTILINE)


def sphinx(text: str) -> str:
    """Links to source files, which are not in the text."""
    return _SPHINX_SOURCE.sub("", text)


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
}
