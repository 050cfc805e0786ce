"""Roff's escapes: special characters, fonts, sizes, motions -> the character shown, or none."""

import re

from data_pipeline.readers import superscripts

# Special characters \(xx and \[name] (groff_char(7)).
GLYPHS = {
    "aq": "'", "dq": '"', "oq": "\u2018", "cq": "\u2019", "lq": "\u201c", "rq": "\u201d",
    "Bq": "\u201e", "bq": "\u201a", "Fo": "\u00ab", "Fc": "\u00bb", "fo": "\u2039", "fc": "\u203a",
    "em": "\u2014", "en": "\u2013", "hy": "-", "mi": "-", "pl": "+", "bu": "\u2022", "co": "\u00a9",
    "rg": "\u00ae", "tm": "\u2122", "de": "\u00b0", "mu": "\u00d7", "di": "\u00f7", "+-": "\u00b1",
    "->": "\u2192", "<-": "\u2190", "<>": "\u2194", "ua": "\u2191", "da": "\u2193", "rA": "\u21d2",
    "lA": "\u21d0", "hA": "\u21d4", "<=": "\u2264", ">=": "\u2265", "!=": "\u2260", "==": "\u2261",
    "~=": "\u2245", "~~": "\u2248", "if": "\u221e", "ti": "~", "ha": "^", "ga": "`", "aa": "\u00b4",
    "rs": "\\", "sl": "/", "ba": "|", "br": "|", "bv": "|", "ul": "_", "ru": "_", "at": "@",
    "sh": "#", "Do": "$", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "\u27e8",
    "ra": "\u27e9",
    "ss": "\u00df", "sc": "\u00a7", "ps": "\u00b6", "12": "\u00bd", "14": "\u00bc", "34": "\u00be",
    "Po": "\u00a3", "Eu": "\u20ac", "eu": "\u20ac", "Ye": "\u00a5", "ct": "\u00a2", "ci": "\u25cb",
    "sq": "\u25a1", "no": "\u00ac", "S1": "\u00b9", "S2": "\u00b2", "S3": "\u00b3", "OK": "\u2713",
    "dg": "\u2020", "dd": "\u2021", "fm": "\u2032", "mc": "\u00b5", "*m": "\u03bc", "*p": "\u03c0",
    "*a": "\u03b1", "*b": "\u03b2", "*l": "\u03bb", "ae": "\u00e6", "AE": "\u00c6", "oe": "\u0153",
    "OE": "\u0152", "r!": "\u00a1", "r?": "\u00bf", "-D": "\u00d0", "Sd": "\u00f0", "TP": "\u00de",
    "Tp": "\u00fe", "/l": "\u0142", "/L": "\u0141", "/o": "\u00f8", "/O": "\u00d8", "tno": "\u00ac",
    "lh": "\u261c", "rh": "\u261e", "u2010": "-", "fi": "fi", "fl": "fl", "ff": "ff",
}  # fmt: skip
_ACCENTS = {":": "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303",
            ",": "\u0327", "o": "\u030a", "v": "\u030c"}  # fmt: skip

_ESCAPE = re.compile(
    r"""\\(?:
      (?P<comment>["#].*)
    | \((?P<two>[^\n]{2})
    | \[(?P<name>[^\]\n]*)\]
    | \*(?:\[(?P<s_name>[^\]\n]*)\]|\((?P<s_two>[^\n]{2})|(?P<s_one>[^\n]))
    | (?:[fFmMYgknV])(?:\[[^\]\n]*\]|\([^\n]{2}|[+-]?[^\n])
    | s(?:[+-]?\d{1,2}|[+-]?\[[^\]\n]*\]|\([^\n]{2}|'[^'\n]*')?
    | N'(?P<code>\d{1,6})'
    | [bhvwlLDoxXRSHZBA](?P<quote>['\x07"])(?P<quoted>.*?)(?P=quote)
    | (?P<single>[^\n])
    )""",
    re.VERBOSE,
)
_SINGLE = {"-": "-", "e": "\\", "\\": "\\", "E": "\\", " ": " ", "~": " ", "0": " ", ".": ".",
           "'": "\u00b4", "`": "`", "_": "_", "t": "\t", "a": "", "N": ""}  # fmt: skip


def replaced(text: str) -> str:
    """Returns the text with every escape replaced by what it shows."""
    return _ESCAPE.sub(_shown, text) if "\\" in text else text


def _shown(match: re.Match) -> str:
    found = match.groupdict()
    if found["two"] is not None or found["name"] is not None:
        return _glyph(found["two"] if found["two"] is not None else found["name"])
    if found["code"] is not None:
        code = int(found["code"])
        return chr(code) if 32 <= code < 127 or 160 <= code < 0xD800 else ""
    if found["single"] is not None:
        return _SINGLE.get(found["single"], _LETTER.get(found["single"], ""))
    return ""


# A letter after a backslash that is no escape shows itself in groff; those of pages do nothing, but
# for half a line up and down, which raise a word.
_LETTER = {letter: "" for letter in "&|^%/,:cprz{}!"}
_LETTER |= {"u": superscripts.START, "d": superscripts.END}


def _glyph(name: str) -> str:
    if name in GLYPHS:
        return GLYPHS[name]
    if re.fullmatch(r"u[0-9A-Fa-f]{4,6}", name):
        code = int(name[1:], 16)
        return chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else ""
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return name[1] + _ACCENTS[name[0]]
    return ""
