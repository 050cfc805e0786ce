"""What a template shows in its sentence: an argument, a number, a unit, a sign; else nothing."""

from collections.abc import Callable

from mwparserfromhell import nodes

from data_pipeline.readers import superscripts

# Template -> which argument is the word that the reader sees, from 0 or from behind.
_SHOWN_ARGUMENT = {
    "lang": 1, "nowrap": 0, "nobr": 0, "nobreak": 0, "abbr": 0, "small": 0, "sic": 0, "mvar": 0,
    "math": 0, "transl": -1, "transliteration": -1, "quote": 0, "blockquote": 0, "cquote": 0,
    "em": 0, "strong": 0, "visible anchor": 0, "vanchor": 0, "zitat": 0, "smallcaps": 0, "var": 0,
    "code": 0, "tt": 0, "nihongo": 0, "chem": 0, "iast": 0, "unicode": 0, "text": 0,
    "linktext": 0, "okina": 0, "usd": 0, "s": 0, "music": 0, "angbr": 0, "not a typo": 0, "ill": 0,
    "rquote": 1, "pull quote": 0, "quotation": 0, "quote box": 0, "nts": 0, "ntsh": 0, "number": 0,
    "smaller": 0, "big": 0, "large": 0, "larger": 0, "resize": 1, "nobold": 0, "noitalic": 0,
    "sc": 0, "sub": 0, "flag": 0, "flagcountry": 0, "vol.": 0, "plainlist": 0, "flatlist": 0,
    "columns-list": -1, "gaps": 0, "kbd": 0, "samp": 0, "mono": 0, "key": 0, "bracket": 0,
    "overline": 0, "underline": 0, "strikethrough": 0, "highlight": 0, "percentage": 0,
    "tooltip": 0, "color": -1, "colour": -1, "font color": -1, "interlanguage link": 0,
    "polytonisch": 0, "url": -1,
}  # fmt: skip
# An argument may be named as well: {{quote|text=...}}, {{quote|1=...}}, {{Zitat|Text=...}}.
_NAMES = ("text", "Text", "quote", "Zitat")
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_TEXT_OF = {
    "ndash": "\u2013", "mdash": "\u2014", "spaced ndash": " \u2013 ", "snd": " \u2013 ",
    "'": "'", "'s": "'s", "=": "=", "!": "|", "nbsp": " ", "pi": "\u03c0", "dot": "\u00b7",
    "spaces": " ", "thinsp": " ", "\u2013": "\u2013", "--": "\u2013", "mdashb": "\u2014",
    "\u00b7": " \u00b7 ", "\u2022": " \u2022 ", "bull": " \u2022 ", "times": "\u00d7",
    "minus": "\u2212", "pm": "\u00b1", "degree": "\u00b0", "deg": "\u00b0",
}  # fmt: skip
# An amount of money stands behind its sign.
_CURRENCIES = {
    "us$": "US$", "a$": "A$", "c$": "C$", "gbp": "\u00a3", "\u00a3": "\u00a3", "eur": "\u20ac",
    "\u20ac": "\u20ac", "inr": "\u20b9", "jpy": "\u00a5", "\u00a5": "\u00a5",
}  # fmt: skip
# Functions of the parser that show what stands behind their colon.
_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "formatnum": lambda text: text, "lc": str.lower, "uc": str.upper,
    "ucfirst": lambda text: text[:1].upper() + text[1:],
    "lcfirst": lambda text: text[:1].lower() + text[1:],
}  # fmt: skip


def shown(node: nodes.Template, render: Callable[[object], str]) -> str | None:
    """Returns what a template shows, or None for one that is no part of a sentence.

    `render` turns the wikitext of an argument into text.
    """
    name = str(node.name).strip().lower().replace("_", " ")
    if name in _TEXT_OF:
        return _TEXT_OF[name]
    function, colon, _ = name.partition(":")
    if colon and function in _FUNCTIONS:
        return _FUNCTIONS[function](render(node.name).partition(":")[2].strip())
    number = -1 if name.startswith("lang-") else _SHOWN_ARGUMENT.get(name)
    if number is not None:
        value = _argument(node, number)
        return None if value is None else render(value)
    if name in _CURRENCIES:
        value = _argument(node, 0)
        return None if value is None else f"{_CURRENCIES[name]}{render(value).strip()}"
    if name in _WRITTEN:
        positional = [render(each.value).strip() for each in node.params if not each.showkey]
        return _WRITTEN[name](positional, _Named(node, render))
    return None


class _Named:
    """The named arguments of a template, rendered."""

    def __init__(self, node: nodes.Template, render: Callable[[object], str]):
        self._node, self._render = node, render

    def get(self, *names: str) -> str:
        """The first of the arguments that is there, or ""."""
        for name in names:
            if self._node.has(name):
                return self._render(self._node.get(name).value).strip()
        return ""


def _argument(node: nodes.Template, number: int):
    """The argument of that number, whether it is named or not."""
    positional = [param.value for param in node.params if not param.showkey]
    if positional and -len(positional) <= number < len(positional):
        return positional[number]
    for name in (*_NAMES, str(number + 1)):
        if node.has(name):
            return node.get(name).value
    return None


def _convert(words: list[str], named: _Named) -> str | None:
    """{{convert|30|km|mi}} shows "30 km (19 mi)"; ranges have a word between two numbers."""
    if len(words) < 2:
        return None
    is_range = len(words) >= 4 and words[1] in ("to", "-", "\u2013", "and", "by", "x")
    return " ".join(words[:4] if is_range else words[:2])


def _as_of(words: list[str], named: _Named) -> str | None:
    year, month, day = (*words, "", "", "")[:3]
    if month.isdecimal() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    shown = " ".join(word for word in (day, month, year) if word)
    return f"{'as' if named.get('lc') else 'As'} of {shown}" if shown else None


def _value(words: list[str], named: _Named) -> str:
    """{{val|6.2|0.1|e=18|u=C}}: a number, its uncertainty, its power of ten, its unit."""
    number = words[0] if words else ""
    if len(words) > 1:
        number += f"({words[1][1:-1]})" if words[1].startswith("(") else f" \u00b1 {words[1]}"
    power = named.get("e")
    if power:
        base = f"10{superscripts.START}{power}{superscripts.END}"
        number = f"{number} \u00d7 {base}" if number else base
    unit, per = named.get("u", "ul"), named.get("up", "upl")
    number = f"{named.get('p')}{number}{named.get('s')}"
    return f"{number}{' ' if unit else ''}{unit}{'/' if per else ''}{per}"


def _fraction(words: list[str], named: _Named) -> str:
    """{{frac|1|2}} is 1/2, {{frac|2}} as well, {{frac|3|1|2}} is 3 1/2."""
    whole, above, below = (["", "", "", *words] if words else ["", "", "", ""])[-3:]
    if len(words) == 1:
        above = "1"
    return f"{whole} {above}/{below}".strip() if words else "/"


def _circa(words: list[str], named: _Named) -> str:
    return " \u2013 ".join(f"c. {word}" for word in words) or "c."


def _raised(words: list[str], named: _Named) -> str:
    return f"{superscripts.START}{words[0]}{superscripts.END}" if words else ""


def _power_of_ten(words: list[str], named: _Named) -> str:
    return f"\u00d710{_raised(words, named)}"


def _height(words: list[str], named: _Named) -> str | None:
    """{{H\u00f6he|1200|DE-NN}}: metres, above which sea is left out."""
    return f"{words[0]} m" if words else None


def _quoted(words: list[str], named: _Named) -> str | None:
    """{{"|Zitat}} of the German Wikipedia."""
    return f"\u201e{words[0]}\u201c" if words else None


def _root(words: list[str], named: _Named) -> str | None:
    index = _raised(words[1:2], named) if words[1:2] else ""
    return f"{index}\u221a{words[0]}" if words else None


def _listed(words: list[str], named: _Named) -> str:
    return ", ".join(word for word in words if word)


_WRITTEN: dict[str, Callable[[list[str], _Named], str | None]] = {
    "convert": _convert, "cvt": _convert, "as of": _as_of, "val": _value, "frac": _fraction,
    "fraction": _fraction, "sfrac": _fraction, "bruch": _fraction, "circa": _circa, "c.": _circa,
    "ca.": _circa, "sup": _raised, "e": _power_of_ten, "hlist": _listed, "ubl": _listed,
    "unbulleted list": _listed, "vunblist": _listed, "h\u00f6he": _height, '"': _quoted,
    "radic": _root, "sqrt": _root,
}  # fmt: skip
