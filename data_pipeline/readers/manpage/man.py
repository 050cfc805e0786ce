"""Man pages, man(7) and mdoc(7) -> plain text, without groff.

One reader for every machine: groff re-wraps, hyphenates and pads, and a corpus that depends on
whether it is installed is not reproducible. Roff's own requests are in roff.py.
"""

import functools
from collections.abc import Callable, Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.manpage import mdoc, roff, roff_escapes, roff_lines

MAX_CHARS = 4 * 1024 * 1024
# What is no text in roff: whose words may be missing from it.
_MARKUP_WORDS = Markup(
    comments=r"\\[\"#].*|^[.']{3}.*",
    requests=rf"^[.'][ \t]*(?:{'|'.join(sorted(roff.IGNORED))}|sp|tr|PD|HP|Bl|Bd|Sm)\b.*",
    macros=r"^[.'][ \t]*\w+",
    mdoc_macros=r"(?:(?<=[ \t])|(?<=^\.))[A-Z][a-z]{1,2}(?=[ \t\n])",
    conditions=r"^[.'][ \t]*(?:if|ie|el)\b.*",
    title_line=r"^\.(?:TH|Dt|Dd|Os)\b.*",
    indentations=r"^\.(?:TP|IP|RS|HP|Vb)\b.*",
    strings=r"^[.'].*?\b(?:ds|as)[ \t].*",
    escapes=r"\\[fFmMYgkVns*hvwlLDoxXRSZ](?:\[[^\]]*\]|\([^\n]{2}|'[^'\n]*'|.)|\\\[[^\]\n]*\]|\\\(..",
    link_targets=r"^\.(?:URL?|MTO?|Lk)\b.*",
    table_formats=r"\bT[{}]|^\.T&\n.*|^\.TS\n(?:.*;\n)?(?:.*\n)*?.*\.[ \t]*$",
)


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the page; an alias (a page that only names another) raises ReadError("alias")."""
    data = document.read_bytes(stream, path=path, max_bytes=MAX_CHARS)
    raw = document.decode(data, path=path, encodings=document.encodings_in(data))
    body = [line for line in raw.split("\n") if line.strip() and not roff_lines.is_comment(line)]
    # Its text is the other page's, and would be there twice.
    if len(body) <= 2 and any(line.startswith((".so ", "'so ")) for line in body):
        raise document.ReadError("alias", f"{path}: {body[-1].strip()[:80]}")
    text = convert(raw, path=path, left_out=account.left_out)
    shown = roff_escapes.replaced(roff.STRING.sub(" ", raw))
    account.read(shown, text, where=path, pieces=lambda _: _pieces(raw, shown))
    if text:
        yield document.Document(id=path, text=text, path=path)


def _pieces(raw: str, shown: str) -> Iterator[tuple[str, str]]:
    """Markup as it is written, and with its escapes replaced."""
    yield from _MARKUP_WORDS(shown)
    yield from _MARKUP_WORDS(raw)


def convert(raw: str, *, path: str = "", left_out: document.LeftOut = document.uncounted) -> str:
    """Returns the page's text: flowing paragraphs, examples as they stand, tags above bodies."""
    page = roff.Page(path, left_out)
    macros = _Man(page)  # until a macro that only mdoc has says otherwise: both begin alike
    handlers: dict[str, Callable] = {}
    for name, rest in page.lines(raw):
        if not name:
            page.line(rest)
            continue
        if name in ("Dd", "Dt") and not isinstance(macros, mdoc.Mdoc):
            macros = mdoc.Mdoc(page)
            handlers = {}
        if name in page.macros and not hasattr(macros, f"on_{name}"):
            page.call(name, rest)
            continue
        if name not in handlers:
            handlers[name] = getattr(macros, f"on_{name}", None) or functools.partial(
                macros.other, name
            )
        handlers[name](page.arguments(rest))
    return page.finish()


class _Man:
    """The macros of man(7) and the groff extensions that pages use."""

    def __init__(self, page: roff.Page):
        self.page = page
        self._tag_next = False
        self._body_indent = 0
        self._nested: list[int] = []
        self._link = ""

    def other(self, name: str, arguments: list[str]) -> None:
        """Font macros show their arguments."""
        if name in roff_lines.FONTS:
            if not arguments:
                return  # it sets the next line, which shows by itself
            # .BR and the like alternate two fonts, without spaces between: "name" "(1)".
            glue = "" if len(name) == 2 and name not in ("SM", "SB") else " "
            self._words(glue.join(arguments))
        else:
            self.page.left_out("markup/own_macros", " ".join(arguments))

    def _words(self, text: str) -> None:
        self.page.text(text)
        self._end_tag()

    def _end_tag(self) -> None:
        if self._tag_next:
            self._tag_next = False
            self.page.end_tag(self._body_indent)

    def on_TH(self, arguments):
        page = arguments + ["", ""]
        self.page.heading(f"{page[0]}({page[1]})" if page[1] else page[0])

    def on_SH(self, arguments):
        self.page.reset_indent()
        self._body_indent = 0
        self._nested.clear()
        self.page.expect_heading(" ".join(arguments))

    on_SS = on_SH

    def on_PP(self, arguments):
        self.page.paragraph()
        self.page.set_indent(self._base())

    on_P = on_LP = on_PP

    def on_HP(self, arguments):
        self.on_PP(arguments)

    def on_TP(self, arguments):
        self.page.paragraph()
        self.page.set_indent(self._base())
        self._body_indent = self._base() + 1
        self.page.start_tag(self._end_tag_from_text)
        self._tag_next = True  # the next line that shows is the tag, whatever macro shows it

    def on_TQ(self, arguments):
        self.page.line_break()
        self.page.set_indent(self._base())
        self.page.start_tag(self._end_tag_from_text)
        self._tag_next = True

    def _end_tag_from_text(self):
        self._end_tag()

    def on_IP(self, arguments):
        self.page.paragraph()
        self.page.set_indent(self._base())
        tag = arguments[0] if arguments else ""
        self.page.item(tag, self._base() + 1)

    def on_RS(self, arguments):
        self.page.line_break()
        self._nested.append(self.page.indent)
        self.page.set_indent(self._base_of_nested() + 1)
        self._nested[-1] = self.page.indent

    def _base_of_nested(self) -> int:
        return self.page.indent if len(self._nested) < 20 else 20

    def on_RE(self, arguments):
        self.page.line_break()
        if self._nested:
            self._nested.pop()
        self.page.set_indent(self._base())

    def _base(self) -> int:
        return self._nested[-1] if self._nested else 0

    def on_UR(self, arguments):
        self._link = arguments[0] if arguments else ""
        self.page.mark()

    on_MT = on_UR

    def on_UE(self, arguments):
        # The address shows only where no text stands for it.
        if self._link and not self.page.text_since_mark():
            self.page.text(self._link)
        self._link = ""
        if arguments:
            self.page.append(arguments[0])
        self._end_tag()

    on_ME = on_UE

    def on_SY(self, arguments):
        self.page.line_break()
        self.page.text(" ".join(arguments))

    def on_YS(self, arguments):
        self.page.line_break()

    def on_OP(self, arguments):
        self._words(f"[{' '.join(arguments)}]")

    def on_MR(self, arguments):
        page = arguments + ["", "", ""]
        self._words(f"{page[0]}({page[1]}){page[2]}" if page[1] else page[0])

    def on_EX(self, arguments):
        self.page.no_fill(True)

    def on_EE(self, arguments):
        self.page.no_fill(False)

    # pod2man defines these in every page.
    on_Vb, on_Ve = on_EX, on_EE

    def on_Sp(self, arguments):
        self.page.paragraph()

    # pod2man's index entries repeat headings that stand in the text.
    def on_IX(self, arguments):
        self.page.left_out("markup/index", " ".join(arguments))

    # asciidoctor: address, text, what follows without a space.
    def on_URL(self, arguments):
        address, text, after = (arguments + ["", "", ""])[:3]
        self._words((text or address) + after)

    on_MTO = on_URL

    def on_PD(self, arguments):
        pass

    def on_AT(self, arguments):
        pass
