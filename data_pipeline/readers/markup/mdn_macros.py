"""MDN's macros in Markdown: {{HTMLElement("b")}} shows <b>, {{Compat}} shows nothing."""

import re

from markdown_it.rules_inline import StateInline

_MACRO = re.compile(r"\{\{\s*([A-Za-z_][\w-]{0,60})\s*(?:\(([^{}]{0,1000})\))?\s*\}\}")
_ARGUMENT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^\s,\"']+)")
# Macros of MDN that show text: number of the argument shown, from 1; all others are navigation.
_SHOWN = frozenset(
    """httpheader httpmethod httpstatus domxref jsxref cssxref htmlelement svgelement
    svgattr htmlattrxref glossary csp rfc bug webextapiref mathmlelement xref event sectiononpage
    xsltref xpathref""".split()
)
# Marks behind a name, which the site shows as a badge.
_BADGES = {
    "optional_inline": "(optional)", "readonlyinline": "(read only)",
    "deprecated_inline": "(deprecated)", "experimental_inline": "(experimental)",
    "non-standard_inline": "(non-standard)",
}  # fmt: skip
_ELEMENT = frozenset({"htmlelement", "svgelement", "mathmlelement"})


def rule(state: StateInline, silent: bool) -> bool:
    """An inline rule of markdown-it: a macro becomes the words that it shows."""
    if not state.src.startswith("{{", state.pos):
        return False
    match = _MACRO.match(state.src, state.pos)
    if not match:
        return False
    if not silent:
        token = state.push("text", "", 0)
        token.content = _text(match.group(1).lower(), match.group(2) or "")
    state.pos = match.end()
    return True


def _text(name: str, arguments: str) -> str:
    if name not in _SHOWN:
        return _BADGES.get(name, "")
    words = [a or b or c for a, b, c in _ARGUMENT.findall(arguments)]
    if not words:
        return ""
    if name == "rfc":
        return f"RFC {words[0]}"
    if name == "httpstatus":
        return words[1] if len(words) > 1 else words[0]
    # The second argument is the text to show where it is given and not empty.
    shown = words[1] if len(words) > 1 and words[1] and name != "rfc" else words[0]
    return f"<{shown}>" if name in _ELEMENT and len(words) == 1 else shown
