"""What a raised word says where nothing can be raised: a power, an ordinal or the mark of a note.

Readers put START and END around it, and `shown` decides by what stands before it: 10^6, m^2, 2^n,
but Art. 5bis, the 2nd, 1 at the start of a paragraph, and nothing for the mark of a note.
"""

import re

from data_pipeline import document

START, END = "\ufdd2", "\ufdd3"
LINK = "\ufdd4"  # inside, where a link leads to the note
_RAISED = re.compile(f"{START}([^{START}{END}]*){END}")
_MARKS = dict.fromkeys(map(ord, (START, END, LINK)))
_NONCHARACTERS = re.compile("[\ufdd0-\ufdef]")
_CONTEXT = 60

_OPENING = frozenset("([{\u00ab\u201e\u201c\"'/")
# What stands for a note, several of them as well: 12, [3], 3), *, a.
_NOTE = re.compile(
    r"(?:\(?\d{1,3}[).]?|[*\u2020\u2021\u00a7\u00b6#]{1,3}\)?|[a-z]\)?)"
    r"(?:[\s,;\u2013-]{1,3}(?:\d{1,3}|[a-z])\)?){0,9}"
)
_BRACKETED = re.compile(r"\[[^\[\]]{1,40}\]")
_LATIN = re.compile(
    r"\w{0,9}(?:bis|ter|quater|quinquies|sexies|septies|octies|novies|decies)", re.IGNORECASE
)
_ORDINAL = re.compile(r"st|nd|rd|th|er|re|\u00e8re|e|i?\u00e8me|os?|as?|\u00ba|\u00aa")
_PLAIN = re.compile(r"[\u2122\u00ae\u00a9\u2120\u00b0]|TM|SM")
# An inserted article is 5a; a number behind it is a note's.
_PROVISION = re.compile(r"(?:Art\.|Artikel|Article|Abs\.|Absatz|Ziff\.|Ziffer|\u00a7) ?\d+\Z")
# A number, a variable, a unit or a function, and a product that an equation has: what is raised
# behind it is a power.
_BASE = re.compile(
    r"(?:[\d|\u2016]|[=+*\u00b7\u00d7\u2212] ?\d*[^\W\d_]{2,3}|(?<![^\W\d_])"
    r"(?:[^\W\d_]|[cdkm\u00b5]m|ha|ft|in|mi|yd|kg|px|Hz|sin|cos|tan|log|ln|exp))\Z"
)
_FRACTION = re.compile(r"[/\u2044]\d")
_SIGNED = re.compile(r"[-+\u2212]|\w*[-+\u2212]|[-+\u2212]\w+")
_ONE = re.compile(r"[-+\u2212]?\w*[-+\u2212*]?|\([^()]*\)")


def shown(text: str, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns a block's text with each raised word as it reads; `left_out` hears of notes' marks.

    Marks that have lost their partner go.
    """
    while START in text and _RAISED.search(text):
        parts, start = [], 0
        for match in _RAISED.finditer(text):
            parts.append(text[start : match.start()])
            before = _NONCHARACTERS.sub("", "".join(parts[-4:])[-_CONTEXT:])
            after = text[match.end() : match.end() + 2]
            parts.append(_shown(match.group(1), before, after, left_out))
            start = match.end()
        text = "".join(parts) + text[start:]
    return text.translate(_MARKS) if START in text or END in text or LINK in text else text


def _shown(raised: str, before: str, after: str, left_out: document.LeftOut) -> str:
    word = raised.replace(LINK, "").strip()
    last = before[-1:]
    if not word or not last or last.isspace() or last in _OPENING or _PLAIN.fullmatch(word):
        return word  # the number of a paragraph, or an index before its word: 14C
    if _LATIN.fullmatch(word) or (last.isdigit() and _ORDINAL.fullmatch(word)):
        return word
    if word == "o" and re.search(r"\b[nN]\Z", before):
        return word
    is_base = bool(_BASE.search(before) or _ends_in_formula(before))
    is_provision = bool(_PROVISION.search(before))
    if last.isdigit() and word.isdigit() and _FRACTION.match(after):
        return f" {word}"  # one and a half
    if is_provision and word.isalpha():
        return word
    is_certain = LINK in raised or is_provision or (word[-1] == ")" and "(" not in word)
    is_note = _NOTE.fullmatch(word) and (is_certain or not is_base)
    if is_note or _BRACKETED.fullmatch(word):
        left_out("note_marks", word)
        return ""
    if " " in word and re.search(r"[^\W\d_]{3}", word):
        return f" {word}"
    if is_base or _SIGNED.fullmatch(word):
        return f"^{word}" if _ONE.fullmatch(word) else f"^({word})"
    return word


def _ends_in_formula(before: str) -> bool:
    """Whether a bracket ends here that holds no word: (x + 1), f(x)."""
    inside = before[before.rfind("(") + 1 : -1]
    return before[-1:] == ")" and bool(inside) and not re.search(r"[^\W\d_]{2}", inside)
