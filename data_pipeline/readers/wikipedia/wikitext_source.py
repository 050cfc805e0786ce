"""The wikitext that is left for the parser: what is no prose is cut, what is verbatim set aside.

References, tables, galleries and file links are cut out of the raw text before the parser sees
them: its own text export leaves the inside of <ref> in the middle of the prose. Code and formulas
are taken out first of all, as MediaWiki does, so that no rule for markup ever touches them.
"""

import html
import re
from collections.abc import Iterable, Iterator

from data_pipeline import document
from data_pipeline.readers import marks, superscripts

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
_VERBATIM_MARK = re.compile(
    r"<!--|-->|<(/?)(nowiki|math|chem|ce|syntaxhighlight|source|pre)(?=[\s/>])([^<>]{0,2000})>",
    re.IGNORECASE,
)
_ALWAYS_BLOCK = frozenset("p br hr div blockquote ul ol li dl dt dd center table tr".split())
# External links show their title; they are resolved before the parser, which backtracks there.
_LINK = re.compile(r"\[(?:(?:https?|ftp):)?//[^\s\[\]<>]+(?:[ \t]+([^\[\]\n]*))?\]")
_LINK_START = re.compile(r"\[(?=(?:(?:https?|ftp):)?//)")
_TABLE = re.compile(r"^[ :*#]*\{\||^[ ]*\|\}(?!\})", re.MULTILINE)
_FILE = re.compile(
    r"\[\[\s*(?:File|Image|Media|Datei|Bild|Category|Kategorie)\s*:|\[\[|\]\]", re.IGNORECASE
)
_CATEGORY = re.compile(r"\[\[\s*(?:Category|Kategorie)", re.IGNORECASE)
_MAX_DEPTH = 20
_MAGIC = re.compile(r"__(?:NO)?(?:TOC|EDITSECTION|FORCETOC|NOTOC|INDEX|NOINDEX|KEIN_INHALTS\w+)__")
_QUOTES = re.compile(r"('{2,})")
# A line of a list: * and # nest, ; is a term, : its definition, or more of an item.
_ITEM = re.compile(r"([*#:;]+)[ \t]*(.*)")
_INSIDE = re.compile(r"\[\[.*?\]\]|\{\{.*?\}\}|\w+://")
# Marks of this module and of `wikitext`; no dump holds them, XML does not allow them.
_OWN_MARKS = dict.fromkeys(range(9))
_PLACE = re.compile("\x03(\\d+)\x03")


def prepare(raw: str, left_out: document.LeftOut = document.uncounted) -> tuple[str, list[str]]:
    """Returns the markup that is left to parse, and the verbatim texts whose places it marks.

    An item of a list begins with one U+0004 for each list that it is in, a term with U+0005, a
    definition with U+0006.
    """
    raw, verbatim = _set_aside(raw.translate(_OWN_MARKS), left_out)
    raw = _without_elements(raw, left_out)
    raw = _without_tables(raw, left_out)
    raw = _without_file_links(_without_tags(raw), left_out)
    raw = _LINK_START.sub("", _LINK.sub(lambda link: link.group(1) or "", raw))
    raw = _balanced(_balanced(raw, "{{", "}}"), "[[", "]]").replace("{|", "").replace("|}\n", "\n")
    # Quotes for bold and italics are resolved here: they are the parser's slowest path.
    lines = map(_without_quotes, _MAGIC.sub("", raw).split("\n"))
    return "\n".join(_with_items(lines)), verbatim


def restore(text: str, verbatim: list[str]) -> str:
    """Puts the verbatim texts back into their places."""
    return _PLACE.sub(lambda place: verbatim[int(place.group(1))], text)


def _set_aside(raw: str, left_out: document.LeftOut) -> tuple[str, list[str]]:
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
            left_out("markup/comments", raw[start : mark.start()])
            opened, start = None, mark.end()
        elif mark.group(1) and name == (opened.group(2) or "").lower():
            kept.append(_place(name, opened.group(3), len(verbatim)))
            verbatim.append(_shown(name, raw[opened.end() : mark.start()]))
            opened, start = None, mark.end()
    if opened:
        left_out("markup/comments", raw[start:])
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
    if name in ("pre", "syntaxhighlight", "source"):
        return marks.code(content.strip("\n"))
    return content.strip("\n") if name != "nowiki" else content


def _without_elements(raw: str, left_out: document.LeftOut) -> str:
    """Cuts <ref>...</ref> and the like, in one pass; an unclosed one loses its tag only."""
    spans: list[tuple[int, int]] = []
    opened: re.Match | None = None
    for match in _TAG.finditer(raw):
        name = match.group(2).lower()
        if name not in _CUT:
            continue
        if match.group(1):  # closing
            if opened and opened.group(2).lower() == name:
                spans.append((opened.start(), match.end()))
                left_out("references" if name == "ref" else name, raw[opened.end() : match.start()])
                opened = None
            elif not opened:
                spans.append(match.span())
        elif match.group(3).rstrip().endswith("/"):
            if not opened:
                spans.append(match.span())
        elif not opened:
            opened = match
        elif opened.group(2).lower() == name:
            # A second opening tag: the first was never closed.
            spans.append(opened.span())
            opened = match
    if opened:
        spans.append(opened.span())
    return _without_spans(raw, spans)


def _without_tables(raw: str, left_out: document.LeftOut) -> str:
    """Cuts tables with those inside of them; one that is never closed stays as it is."""
    spans: list[tuple[int, int]] = []
    stack: list[int] = []
    for match in _TABLE.finditer(raw):
        if match.group().endswith("{|"):
            stack.append(match.start())
        elif stack:
            _add_span(spans, (stack.pop(), match.end()))
    for begin, end in spans:
        left_out("tables", raw[begin:end])
    return _without_spans(raw, spans)


def _without_file_links(raw: str, left_out: document.LeftOut) -> str:
    """Cuts [[File:...]] and [[Category:...]] with the links inside their captions."""
    spans: list[tuple[int, int]] = []
    stack: list[tuple[int, bool]] = []
    for match in _FILE.finditer(raw):
        mark = match.group()
        if mark != "]]":
            stack.append((match.start(), mark != "[["))
        elif stack:
            begin, is_file = stack.pop()
            if is_file:
                _add_span(spans, (begin, match.end()))
    for begin, end in spans:
        is_category = _CATEGORY.match(raw, begin)
        left_out("markup/categories" if is_category else "files", raw[begin:end])
    return _without_spans(raw, spans)


def _add_span(spans: list[tuple[int, int]], span: tuple[int, int]) -> None:
    """Adds a span in place of those inside of it."""
    while spans and spans[-1][0] > span[0]:
        spans.pop()
    spans.append(span)


def _without_tags(raw: str) -> str:
    """Removes every tag and keeps its content; a < that begins none becomes an entity."""

    def tag(match):
        name, attributes = match.group(2).lower(), match.group(3).strip(" \t\n/")
        # "a <b and c> d" holds no tag: a name of one letter has attributes with values, or none.
        if name not in _KNOWN or (len(name) == 1 and attributes and "=" not in attributes):
            return match.group()
        if name == "sup":
            return superscripts.END if match.group(1) else superscripts.START
        return "\n" if name in _ALWAYS_BLOCK else ""

    return _TAG.sub(tag, raw).replace("<", "&lt;")


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


def _with_items(lines: Iterable[str]) -> Iterator[str]:
    """Puts marks in the place of * # ; and :, and numbers what # numbers."""
    numbers: dict[str, int] = {}
    for line in lines:
        item = _ITEM.match(line)
        if not item:
            numbers.clear()
            yield line
            continue
        lists, text = item.groups()
        for other in [each for each in numbers if not lists.startswith(each)]:
            del numbers[other]
        depth = "\x04" * sum(lists.count(each) for each in "*#")
        kind = lists[-1]
        if kind == "#":
            numbers[lists] = numbers.get(lists, 0) + 1
            yield f"{depth}{numbers[lists]}. {text}"
        elif kind == "*":
            yield f"{depth}- {text}"
        elif depth:
            yield f"{depth}\x04{text}"  # more of an item stands below its text
        elif kind == ":":
            yield f"\x06{text}"
        else:
            term, said = _term(text)
            yield f"\x05{term}"
            if said:
                yield f"\x06{said}"


def _term(text: str) -> tuple[str, str]:
    """Splits "term : definition" at a colon outside of links."""
    hidden = _INSIDE.sub(lambda match: "\x07" * len(match.group()), text)
    at = hidden.find(":")
    return (text, "") if at < 0 else (text[:at].rstrip(), text[at + 1 :].lstrip())


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
