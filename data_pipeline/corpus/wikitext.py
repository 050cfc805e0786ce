"""MediaWiki markup -> prose: what has no sentence in it goes first, then the markup.

References, tables, galleries and file links are cut out of the raw text before the parser sees
them: its own text export leaves the inside of <ref> in the middle of the prose.
"""

import re

import mwparserfromhell
from mwparserfromhell import nodes

# Elements whose content is not prose.
_CUT = frozenset(
    "ref references gallery timeline imagemap score hiero graph templatestyles".split()
)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15})\b([^<>]{0,2000})>")
_STRAY = re.compile(r"<(?![/]?[A-Za-z][^<>]{0,2000}>)")
_PARSED = frozenset("math source syntaxhighlight pre nowiki".split())
# External links show their title; they are resolved before the parser, which backtracks there.
_LINK = re.compile(r"\[(?:(?:https?|ftp):)?//[^\s\[\]<>]+(?:[ \t]+([^\[\]\n]*))?\]")
_LINK_START = re.compile(r"\[(?=(?:(?:https?|ftp):)?//)")
_COMMENT = re.compile(r"<!--|-->")
_TABLE = re.compile(r"^[ :*#]*\{\||^[ ]*\|\}(?!\})", re.MULTILINE)
_FILE = re.compile(
    r"\[\[\s*(?:File|Image|Media|Datei|Bild|Category|Kategorie)\s*:|\[\[|\]\]", re.IGNORECASE
)
_MAX_DEPTH = 20
_MAGIC = re.compile(r"__(?:NO)?(?:TOC|EDITSECTION|FORCETOC|NOTOC|INDEX|NOINDEX|KEIN_INHALTS\w+)__")

# Sections that are lists of links or literature. English, then German.
_DROPPED_SECTIONS = frozenset(
    "references|external links|see also|further reading|notes|footnotes|bibliography|sources|"
    "notes and references|references and notes|citations|literature cited|gallery|"
    "einzelnachweise|weblinks|siehe auch|literatur|anmerkungen|quellen|fussnoten|belege".split("|")
)
# Templates that stand inside a sentence: which argument is the word that the reader sees.
_SHOWN_ARGUMENT = {
    "lang": 1, "nowrap": 0, "nobr": 0, "nobreak": 0, "abbr": 0, "small": 0, "sic": 0, "mvar": 0,
    "math": 0, "transl": -1, "transliteration": -1, "quote": 0, "blockquote": 0, "cquote": 0,
    "em": 0, "strong": 0, "visible anchor": 0, "vanchor": 0, "zitat": 0, "smallcaps": 0, "var": 0,
    "code": 0, "tt": 0, "nihongo": 0, "chem": 0, "iast": 0, "unicode": 0, "text": 0, "as of": 0,
    "linktext": 0, "lang-de": 0, "lang-fr": 0, "lang-la": 0, "lang-el": 0, "okina": 0,
    "lang-grc": 0, "usd": 0, "s": 0, "music": 0, "angbr": 0, "not a typo": 0, "ill": 0,
}  # fmt: skip
_TEXT_OF = {
    "ndash": "\u2013", "mdash": "\u2014", "spaced ndash": " \u2013 ", "snd": " \u2013 ",
    "'": "'", "'s": "'s", "=": "=", "!": "|", "nbsp": " ", "pi": "\u03c0", "dot": "\u00b7",
    "spaces": " ", "thinsp": " ", "\u2013": "\u2013", "--": "\u2013",
}  # fmt: skip
_ALWAYS_BLOCK = frozenset("p br hr div blockquote ul ol li dl dt dd center table tr".split())
_VERBATIM = frozenset("source syntaxhighlight pre".split())


def clean(raw: str) -> str:
    """Returns the prose of an article, paragraphs separated by a blank line, headings bare."""
    raw = _without_comments(raw)
    raw = _without_elements(raw)
    raw = _without_blocks(raw, _TABLE, opens=lambda mark: mark.endswith("{|"))
    raw = _without_file_links(_plain_tags(raw))
    raw = _LINK_START.sub("", _LINK.sub(lambda link: link.group(1) or "", raw))
    raw = _balanced(_balanced(raw, "{{", "}}"), "[[", "]]").replace("{|", "").replace("|}\n", "\n")
    # skip_style_tags: quotes for bold and italics are cut by regex, the parser's slowest path.
    raw = re.sub(r"'{2,5}", "", _MAGIC.sub("", raw))
    parts: list[str] = []
    _render(mwparserfromhell.parse(raw, skip_style_tags=True), parts, depth=0)
    return _tidy("".join(parts))


def _without_comments(raw: str) -> str:
    kept, start, inside = [], 0, False
    for match in _COMMENT.finditer(raw):
        if match.group() == "<!--" and not inside:
            kept.append(raw[start : match.start()])
            inside = True
        elif match.group() == "-->" and inside:
            start, inside = match.end(), False
    return "".join(kept) + ("" if inside else raw[start:])


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


def _plain_tags(raw: str) -> str:
    """Leaves only tags that the parser must see, each with its partner; others lose their tag."""
    closed = {tag.group(2).lower() for tag in _TAG.finditer(raw) if tag.group(1)}

    def replace(tag):
        name = tag.group(2).lower()
        if name in _PARSED and name in closed:
            return tag.group()
        return "\n" if name in _ALWAYS_BLOCK else ""

    return _STRAY.sub("&lt;", _TAG.sub(replace, raw))


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


def _render(code, parts: list[str], *, depth: int) -> None:
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            parts.append(node.value)
        elif isinstance(node, nodes.Wikilink):
            shown = node.text if node.text is not None else node.title
            if shown is node.title:
                parts.append(str(shown).lstrip(":"))
            else:
                _render(shown, parts, depth=depth + 1)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                _render(node.title, parts, depth=depth + 1)
            elif not node.brackets:
                parts.append(str(node.url))
        elif isinstance(node, nodes.Heading):
            parts.append("\n\n\x01")
            _render(node.title, parts, depth=depth + 1)
            parts.append("\x01\n\n")
        elif isinstance(node, nodes.HTMLEntity):
            parts.append(_entity(node))
        elif isinstance(node, nodes.Tag):
            _render_tag(node, parts, depth=depth)
        elif isinstance(node, nodes.Template):
            _render_template(node, parts, depth=depth)


def _entity(node: nodes.HTMLEntity) -> str:
    try:
        character = node.normalize() or ""
    except (ValueError, OverflowError):
        return ""
    return "" if 0xD800 <= ord(character[:1] or " ") <= 0xDFFF else character


def _render_tag(node: nodes.Tag, parts: list[str], *, depth: int) -> None:
    name = str(node.tag).strip().lower()
    if node.wiki_markup in ("*", "#"):
        parts.append("- ")
    elif node.wiki_markup:
        pass  # ":" and ";" only indent
    elif name in _VERBATIM or name == "math":
        if node.contents is not None:
            text = str(node.contents)
            parts.append(text if name == "math" else f"\n\n\x02{text.strip(chr(10))}\x02\n\n")
    elif name not in _CUT:
        if name in _ALWAYS_BLOCK:
            parts.append("\n")
        if node.contents is not None:
            _render(node.contents, parts, depth=depth + 1)
        if name in _ALWAYS_BLOCK:
            parts.append("\n")


def _render_template(node: nodes.Template, parts: list[str], *, depth: int) -> None:
    name = str(node.name).strip().lower().replace("_", " ")
    if name in _TEXT_OF:
        parts.append(_TEXT_OF[name])
        return
    positional = [param.value for param in node.params if not param.showkey]
    if name in ("convert", "cvt") and len(positional) >= 2:
        # {{convert|30|km|mi}} shows "30 km (19 mi)"; ranges have a word between two numbers.
        words = [str(value).strip() for value in positional[:4]]
        is_range = len(words) == 4 and words[1] in ("to", "-", "\u2013", "and", "by", "x")
        parts.append(" ".join(words if is_range else words[:2]))
    elif name in _SHOWN_ARGUMENT and positional:
        which = _SHOWN_ARGUMENT[name]
        if which < len(positional):
            _render(positional[which], parts, depth=depth + 1)


_EMPTY_PARENS = re.compile(r"[ \u00a0]?\([\s,;:/\u2013-]{0,20}\)")
_LEFT_IN_PARENS = re.compile(r"\([ \u00a0]*[,;:][\s,;:]{0,20}")
_SPACE_BEFORE = re.compile(r"[ \t\u00a0]+([,.;:!?)])")
_SPACES = re.compile(r"[ \t\u00a0]+")


def _tidy(text: str) -> str:
    """Mends what removed templates leave behind, drops sections that hold only references."""
    text = text.translate({0: None, 0xAD: None})
    blocks: list[str] = []
    skipping = False
    pieces = text.split("\x02")
    for number, piece in enumerate(pieces):
        if number % 2 and number < len(pieces) - 1:
            if not skipping:
                blocks.append(piece)
            continue
        for line in piece.split("\n"):
            if line.startswith("\x01"):
                title = _line(line.replace("\x01", ""))
                skipping = title.lower().rstrip(":") in _DROPPED_SECTIONS
                if not skipping:
                    blocks.append("\x01" + title)
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
    kept = []
    for number, block in enumerate(blocks):
        if block.startswith("\x01"):
            following = blocks[number + 1] if number + 1 < len(blocks) else "\x01"
            if following.startswith("\x01") or len(block) == 1:
                continue
            block = block[1:]
        kept.append(block)
    return kept


def _line(line: str) -> str:
    line = _EMPTY_PARENS.sub("", line)
    line = _LEFT_IN_PARENS.sub("(", line)
    return _SPACE_BEFORE.sub(r"\1", _SPACES.sub(" ", line)).strip()
