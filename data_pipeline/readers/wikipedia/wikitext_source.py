"""The wikitext that is left for the parser: what is no prose is cut, what is verbatim set aside.

References, tables, galleries and file links are cut out of the raw text before the parser sees
them: its own text export leaves the inside of <ref> in the middle of the prose. Code and formulas
are taken out first of all, as MediaWiki does, so that no rule for markup ever touches them.
"""

import html
import re

# Elements whose content is not prose.
_CUT = frozenset(
    "ref references gallery timeline imagemap score hiero graph templatestyles".split()
)
# What MediaWiki takes for a tag; any other <word> is text, such as <stdio.h>.
_KNOWN = _CUT | frozenset(
    """abbr b bdi bdo big blockquote br caption categorytree center ce charinsert chem cite code col
    colgroup data dd del dfn div dl dt em figure figcaption font h1 h2 h3 h4 h5 h6 hr i includeonly
    indicator inputbox ins kbd langconvert li link mapframe maplink mark math meta noinclude nowiki
    ol onlyinclude p phonos poem pre q rb rp rt rtc ruby s samp section small source span strike
    strong sub sup syntaxhighlight table tbody td templatedata tfoot th thead time tr tt u ul var
    wbr""".split()
)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15})(?=[\s/>])([^<>]{0,2000})>")
_VERBATIM = frozenset("nowiki math chem ce syntaxhighlight source pre".split())
_VERBATIM_MARK = re.compile(
    r"<!--|-->|<(/?)(nowiki|math|chem|ce|syntaxhighlight|source|pre)(?=[\s/>])([^<>]{0,2000})>",
    re.IGNORECASE,
)
_ALWAYS_BLOCK = frozenset("p br hr div blockquote ul ol li dl dt dd center table tr".split())
# A power is one: 2<sup>n</sup> is not 2n. Ordinals and notes are none.
_POWER = re.compile(r"<sup>([^<>\[\]{}\n]{1,200})</sup>", re.IGNORECASE)
_ORDINAL = re.compile(r"st|nd|rd|th")
_ONE_WORD = re.compile(r"[-+\u2212]?\w+")
# External links show their title; they are resolved before the parser, which backtracks there.
_LINK = re.compile(r"\[(?:(?:https?|ftp):)?//[^\s\[\]<>]+(?:[ \t]+([^\[\]\n]*))?\]")
_LINK_START = re.compile(r"\[(?=(?:(?:https?|ftp):)?//)")
_TABLE = re.compile(r"^[ :*#]*\{\||^[ ]*\|\}(?!\})", re.MULTILINE)
_FILE = re.compile(
    r"\[\[\s*(?:File|Image|Media|Datei|Bild|Category|Kategorie)\s*:|\[\[|\]\]", re.IGNORECASE
)
_MAX_DEPTH = 20
_MAGIC = re.compile(r"__(?:NO)?(?:TOC|EDITSECTION|FORCETOC|NOTOC|INDEX|NOINDEX|KEIN_INHALTS\w+)__")
_QUOTES = re.compile(r"('{2,})")
# Marks of this module and of `wikitext`; no dump holds them, XML does not allow them.
_OWN_MARKS = dict.fromkeys(range(9))
_PLACE = re.compile("\x03(\\d+)\x03")


def prepare(raw: str) -> tuple[str, list[str]]:
    """Returns the markup that is left to parse, and the verbatim texts whose places it marks."""
    raw, verbatim = _set_aside(raw.translate(_OWN_MARKS))
    raw = _without_elements(raw)
    raw = _without_blocks(raw, _TABLE, opens=lambda mark: mark.endswith("{|"))
    raw = _without_file_links(_without_tags(raw))
    raw = _LINK_START.sub("", _LINK.sub(lambda link: link.group(1) or "", raw))
    raw = _balanced(_balanced(raw, "{{", "}}"), "[[", "]]").replace("{|", "").replace("|}\n", "\n")
    # Quotes for bold and italics are resolved here: they are the parser's slowest path.
    return "\n".join(map(_without_quotes, _MAGIC.sub("", raw).split("\n"))), verbatim


def restore(text: str, verbatim: list[str]) -> str:
    """Puts the verbatim texts back into their places."""
    return _PLACE.sub(lambda place: verbatim[int(place.group(1))], text)


def _set_aside(raw: str) -> tuple[str, list[str]]:
    """Cuts comments and replaces each verbatim element by a mark; whichever begins first counts."""
    last_end = {}
    for mark in _VERBATIM_MARK.finditer(raw):
        if mark.group(1):
            last_end[mark.group(2).lower()] = mark.start()
    kept, verbatim, start = [], [], 0
    opened: re.Match | None = None
    for mark in _VERBATIM_MARK.finditer(raw):
        name = (mark.group(2) or "").lower()
        if opened is None:
            is_alone = bool(name) and mark.group(3).rstrip().endswith("/")
            # An element that is never closed loses its tag only; a comment hides all that follows.
            is_closed = mark.group() == "<!--" or last_end.get(name, -1) > mark.start()
            if mark.group() == "-->" or mark.group(1) or not (is_alone or is_closed):
                continue
            kept.append(raw[start : mark.start()])
            start = mark.end()
            if is_alone:
                # It still separates what stands on its sides: ''a''<nowiki/>'s.
                kept.append(f"\x03{len(verbatim)}\x03")
                verbatim.append("")
            else:
                opened = mark
        elif opened.group() == "<!--" and mark.group() == "-->":
            opened, start = None, mark.end()
        elif mark.group(1) and name == (opened.group(2) or "").lower():
            kept.append(_place(name, opened.group(3), len(verbatim)))
            verbatim.append(_shown(name, raw[opened.end() : mark.start()]))
            opened, start = None, mark.end()
    return "".join(kept) + ("" if opened else raw[start:]), verbatim


def _place(name: str, attributes: str, number: int) -> str:
    is_inline = name in ("nowiki", "math", "chem", "ce") or "inline" in attributes.split()
    return f"\x03{number}\x03" if is_inline else f"\n\n\x03{number}\x03\n\n"


def _shown(name: str, content: str) -> str:
    """What a verbatim element shows: <pre> and <nowiki> decode entities, code and TeX do not."""
    if name == "pre":
        content = re.sub(r"</?nowiki\s*/?>", "", content)
    if name in ("pre", "nowiki"):
        content = html.unescape(content)
    return content.strip("\n") if name != "nowiki" else content


def _without_elements(raw: str) -> str:
    """Cuts <ref>...</ref> and the like, in one pass; an unclosed one loses its tag only."""
    kept, start = [], 0
    opened: tuple[str, int, int] | None = None  # name, where it begins, where its tag ends
    for match in _TAG.finditer(raw):
        name = match.group(2).lower()
        if name not in _CUT:
            continue
        if match.group(1):  # closing
            if opened and opened[0] == name:
                kept.append(raw[start : opened[1]])
                start, opened = match.end(), None
            elif not opened:
                kept.append(raw[start : match.start()])
                start = match.end()
        elif match.group(3).rstrip().endswith("/"):
            if not opened:
                kept.append(raw[start : match.start()])
                start = match.end()
        elif opened and opened[0] == name:
            # A second opening tag: the first was never closed.
            kept.append(raw[start : opened[1]])
            kept.append(raw[opened[2] : match.start()])
            start, opened = match.start(), (name, match.start(), match.end())
        elif not opened:
            opened = (name, match.start(), match.end())
    if opened:
        kept.append(raw[start : opened[1]])
        start = opened[2]
    return "".join(kept) + raw[start:]


def _without_blocks(raw: str, marks: re.Pattern, *, opens) -> str:
    """Cuts nested blocks between marks; a block that is never closed stays as it is."""
    spans, stack = [], []
    for match in marks.finditer(raw):
        if opens(match.group()):
            stack.append(match.start())
        elif stack:
            begin = stack.pop()
            while spans and spans[-1][0] > begin:
                spans.pop()
            spans.append((begin, match.end()))
    return _without_spans(raw, spans)


def _without_file_links(raw: str) -> str:
    """Cuts [[File:...]] and [[Category:...]] with the links inside their captions."""
    spans, stack = [], []
    for match in _FILE.finditer(raw):
        mark = match.group()
        if mark == "]]":
            if stack:
                begin, cut = stack.pop()
                if cut:
                    while spans and spans[-1][0] > begin:
                        spans.pop()
                    spans.append((begin, match.end()))
        else:
            stack.append((match.start(), mark != "[["))
    return _without_spans(raw, spans)


def _without_tags(raw: str) -> str:
    """Removes every tag and keeps its content; a < that begins none becomes an entity."""

    def power(match):
        shown = match.group(1).replace("''", "").strip()
        if not shown or _ORDINAL.fullmatch(shown):
            return shown
        return f"^{shown}" if _ONE_WORD.fullmatch(shown) else f"^({shown})"

    def tag(match):
        name, attributes = match.group(2).lower(), match.group(3).strip(" \t\n/")
        # "a <b and c> d" holds no tag: a name of one letter has attributes with values, or none.
        if name not in _KNOWN or (len(name) == 1 and attributes and "=" not in attributes):
            return match.group()
        return "\n" if name in _ALWAYS_BLOCK else ""

    return _TAG.sub(tag, _POWER.sub(power, raw)).replace("<", "&lt;")


def _without_quotes(line: str) -> str:
    """Removes marks of italics and bold by MediaWiki's rule; apostrophes of the text stay."""
    parts = _QUOTES.split(line)
    if len(parts) == 1:
        return line
    # Four are an apostrophe and bold; above five, the last five are the mark.
    kept = ["'" * (len(run) - (3 if len(run) == 4 else min(len(run), 5))) for run in parts[1::2]]
    sizes = [len(run) - len(left) for run, left in zip(parts[1::2], kept, strict=True)]
    is_odd = sum(n in (2, 5) for n in sizes) % 2 and sum(n in (3, 5) for n in sizes) % 2
    bold = [number for number, size in enumerate(sizes) if size == 3]
    if is_odd and bold:
        # One bold mark is an apostrophe and italics: after a word of one letter (l'''amour),
        # else after a longer word, else after a space.
        def rank(number):
            before = parts[2 * number] + kept[number]
            if before.endswith(" "):
                return 2
            return 0 if before[-2:-1] == " " else 1

        kept[min(bold, key=rank)] += "'"
    return parts[0] + "".join(a + b for a, b in zip(kept, parts[2::2], strict=True))


def _balanced(raw: str, opening: str, closing: str) -> str:
    """Removes marks without a partner or too deep: the parser backtracks over each of them."""
    stack: list[int] = []
    wrong: list[int] = []
    for match in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", raw):
        if match.group() == opening:
            stack.append(match.start())
        elif stack:
            begin = stack.pop()
            if len(stack) >= _MAX_DEPTH:
                wrong += (begin, match.start())
        else:
            wrong.append(match.start())
    return _without_spans(raw, [(at, at + 2) for at in sorted(wrong + stack)])


def _without_spans(raw: str, spans: list[tuple[int, int]]) -> str:
    kept, start = [], 0
    for begin, end in spans:
        kept.append(raw[start:begin])
        start = end
    return "".join(kept) + raw[start:]
