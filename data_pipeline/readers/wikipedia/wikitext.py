"""MediaWiki markup -> prose: what has no sentence in it goes first, then the markup."""

import re

import mwparserfromhell
from mwparserfromhell import nodes

from data_pipeline.readers.wikipedia import wikitext_sections, wikitext_source

# Templates that stand inside a sentence: which argument is the word that the reader sees.
_SHOWN_ARGUMENT = {
    "lang": 1, "nowrap": 0, "nobr": 0, "nobreak": 0, "abbr": 0, "small": 0, "sic": 0, "mvar": 0,
    "math": 0, "transl": -1, "transliteration": -1, "quote": 0, "blockquote": 0, "cquote": 0,
    "em": 0, "strong": 0, "visible anchor": 0, "vanchor": 0, "zitat": 0, "smallcaps": 0, "var": 0,
    "code": 0, "tt": 0, "nihongo": 0, "chem": 0, "iast": 0, "unicode": 0, "text": 0,
    "linktext": 0, "lang-de": 0, "lang-fr": 0, "lang-la": 0, "lang-el": 0, "okina": 0,
    "lang-grc": 0, "usd": 0, "s": 0, "music": 0, "angbr": 0, "not a typo": 0, "ill": 0,
    "rquote": 1, "pull quote": 0, "quotation": 0, "quote box": 0,
}  # fmt: skip
# An argument may be named as well: {{quote|text=...}}, {{quote|1=...}}, {{Zitat|Text=...}}.
_NAMES = ("text", "Text", "quote", "Zitat")
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_TEXT_OF = {
    "ndash": "\u2013", "mdash": "\u2014", "spaced ndash": " \u2013 ", "snd": " \u2013 ",
    "'": "'", "'s": "'s", "=": "=", "!": "|", "nbsp": " ", "pi": "\u03c0", "dot": "\u00b7",
    "spaces": " ", "thinsp": " ", "\u2013": "\u2013", "--": "\u2013",
}  # fmt: skip
# [[de:Foo]] stands for an article in another language, beside the text; [[:de:Foo]] is a link.
_OTHER_LANGUAGE = re.compile(
    r"\s*(?:simple|a[fnrstz]|az|b[aegnrs]|bar|c[aesvy]|da|de|e[lnostu]|f[aiory]|g[adlv]|h[eiruy]|"
    r"i[adost]|ja|jv|k[akmnoruy]|l[abivt]|lb|lmo|m[gklnrsty]|n[elnovs]|nds|oc|p[alst]|qu|ro|ru|"
    r"s[cehikloqrvw]|t[aeghlrt]|u[krz]|v[eio]|w[ao]|yi|zh)(?:-[a-z]+)*:"
)


def clean(raw: str) -> str:
    """Returns the prose of an article, paragraphs separated by a blank line, headings bare."""
    raw, verbatim = wikitext_source.prepare(raw)
    parts: list[str] = []
    # skip_style_tags: there are no quotes for bold and italics left.
    _render(mwparserfromhell.parse(raw, skip_style_tags=True), parts, depth=0)
    return wikitext_source.restore(wikitext_sections.tidy("".join(parts)), verbatim)


def _render(code, parts: list[str], *, depth: int) -> None:
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            parts.append(node.value)
        elif isinstance(node, nodes.Wikilink):
            if _OTHER_LANGUAGE.match(str(node.title)):
                continue
            shown: list[str] = []
            _render(node.title if node.text is None else node.text, shown, depth=depth + 1)
            parts.append("".join(shown).lstrip(":" if node.text is None else ""))
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                _render(node.title, parts, depth=depth + 1)
            elif not node.brackets:
                parts.append(str(node.url))
        elif isinstance(node, nodes.Heading):
            parts.append(f"\n\n\x01{node.level}")
            _render(node.title, parts, depth=depth + 1)
            parts.append("\x01\n\n")
        elif isinstance(node, nodes.HTMLEntity):
            parts.append(_entity(node))
        elif isinstance(node, nodes.Tag):
            # Only list marks are left; ":" and ";" only indent.
            parts.append("- " if node.wiki_markup in ("*", "#") else "")
        elif isinstance(node, nodes.Template):
            _render_template(node, parts, depth=depth)


def _entity(node: nodes.HTMLEntity) -> str:
    try:
        character = node.normalize() or ""
    except (ValueError, OverflowError):
        return ""
    return "" if 0xD800 <= ord(character[:1] or " ") <= 0xDFFF else character


def _render_template(node: nodes.Template, parts: list[str], *, depth: int) -> None:
    name = str(node.name).strip().lower().replace("_", " ")
    if name in _TEXT_OF:
        parts.append(_TEXT_OF[name])
        return
    positional = [param.value for param in node.params if not param.showkey]
    words = [str(value).strip() for value in positional[:4]]
    if name in ("convert", "cvt") and len(positional) >= 2:
        # {{convert|30|km|mi}} shows "30 km (19 mi)"; ranges have a word between two numbers.
        is_range = len(words) == 4 and words[1] in ("to", "-", "\u2013", "and", "by", "x")
        parts.append(" ".join(words if is_range else words[:2]))
    elif name == "as of" and words:
        parts.append(_as_of(words, is_lower=node.has("lc")))
    elif name == "sup" and words:
        parts.append(f"^{words[0]}")
    elif name == "sub" and words:
        parts.append(words[0])
    elif name in _SHOWN_ARGUMENT:
        value = _argument(node, positional, _SHOWN_ARGUMENT[name])
        if value is not None:
            _render(value, parts, depth=depth + 1)


def _argument(node: nodes.Template, positional: list, number: int):
    """The argument of that number, from 0 or from behind, whether it is named or not."""
    if positional and number < len(positional):
        return positional[number]
    for name in (*_NAMES, str(number + 1)):
        if node.has(name):
            return node.get(name).value
    return None


def _as_of(words: list[str], *, is_lower: bool) -> str:
    year, month, day = (*words, "", "")[:3]
    if month.isdecimal() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    shown = " ".join(word for word in (day, month, year) if word)
    return f"{'as' if is_lower else 'As'} of {shown}"
