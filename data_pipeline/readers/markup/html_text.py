"""Elements of HTML, as a parser meets them -> blocks of text: paragraphs, lists, rows, code."""

import dataclasses
import re
from collections.abc import Sequence

from data_pipeline import document
from data_pipeline.readers import marks, superscripts
from data_pipeline.readers.markup import blocks

_BLOCKS = frozenset(
    """address article aside blockquote body button canvas caption center dd details dir div dl dt
    fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe
    legend li listing main menu nav noscript object ol option p pre section select summary svg
    table tbody td template tfoot th thead tr ul video audio xmp""".split()
)
_LISTS = frozenset("ul ol dir menu".split())
_CODE = frozenset("code kbd samp tt".split())
_PRE = frozenset("pre listing xmp".split())
HEEDED = _BLOCKS | _CODE | {"a", "sup"}  # of all others only the text counts
# What is no more than an end of the paragraph before it.
_PLAIN = _BLOCKS - _LISTS - _PRE - {"table", "tr", "td", "th", "li", "h1"}
_STYLES = frozenset("1aAiI")
_SPACES = re.compile(r"[ \t\r\f\v\n]+")
# A list of links is a menu from so many items on, of so many characters at most in the mean.
_MENU_ITEMS, _MENU_ITEM_CHARS = 4, 60
Attributes = Sequence[tuple[str, str | None]]
_BREAK = "\x00"  # the parser gives no NUL


@dataclasses.dataclass
class _List:
    """What an outermost list holds: where it begins, and how much of its text is links."""

    place: int
    items: int = 0
    chars: int = 0
    link_chars: int = 0

    def count(self, chars: int, *, is_link: bool) -> None:
        self.chars += chars
        self.link_chars += chars if is_link else 0

    def is_menu(self) -> bool:
        """Whether nearly all is links, several of them, none as long as a sentence."""
        is_short = self.link_chars < _MENU_ITEM_CHARS * self.items
        return self.items >= _MENU_ITEMS and is_short and self.link_chars > 0.9 * self.chars


class Writer:
    """The text so far, and what of it is still open.

    With `cuts_menus`, lists of which nearly all text is links are left out.
    """

    def __init__(self, left_out: document.LeftOut, *, cuts_menus: bool = False):
        self.has_title = False
        self._left_out = left_out
        self._cuts_menus = cuts_menus
        self._open_links = 0
        self._list = _List(0)  # the outermost open one
        self._blocks = blocks.Blocks()
        self._current: list[str] = []
        self._pieces: list[list] = []  # open code: [element, where it begins in _current]
        self._pre = 0
        self._lists: list[bool] = []  # whether an open list is one of the text's, or in a cell
        self._rows: list[list[str] | None] = []  # of each open table; None between two rows

    def text(self) -> str:
        """Returns the text; what is still open ends here."""
        while self._pieces:
            self._end_piece(self._pieces[-1][0])
        while self._rows:
            self.end("table")
        self._flush()
        return self._blocks.text()

    def data(self, text: str) -> None:
        """Adds characters."""
        if not self._current and text.isspace() and not self._pieces:
            return  # between two blocks
        if self._lists and self._cuts_menus:
            self._list.count(len(text.strip()), is_link=self._open_links > 0)
        if "\xad" in text and not self._pieces:
            text = text.replace("\xad", "")  # where a word may be parted, and is not
        # White space outside of code is folded in the end, for a whole block.
        self._current.append(_SPACES.sub(" ", text) if self._pieces and not self._pre else text)

    def void(self, tag: str, attributes: dict) -> None:
        """Adds an element without content."""
        if tag == "br":
            self._current.append("\n" if self._pre else _BREAK)
        elif tag == "img" and attributes.get("alt"):
            self.data(attributes["alt"])
        else:
            self.separate(tag)

    def separate(self, tag: str) -> None:
        """Ends the paragraph, or the word in a cell, where `tag` is a block's."""
        if tag not in _BLOCKS or not (self._current or self._rows):
            return
        if self._pre:
            if self._current and not self._current[-1].endswith("\n"):
                self._current.append("\n")
        elif self._is_in_cell():
            # Blocks in a cell of a table stay on the row's line.
            self._current.append(" ")
        else:
            self._flush()

    def start(self, tag: str, attributes: Attributes, *, is_remembered: bool) -> None:
        """Begins one of the HEEDED elements; one that is not remembered has no end."""
        if tag == "a":
            self._open_links += is_remembered
            if self._current and self._current[-1] == superscripts.START:
                self._current.append(superscripts.LINK)
        elif tag == "sup":
            self._current.append(superscripts.START)
        else:
            if tag in _BLOCKS:
                self.has_title = self.has_title or tag == "h1"
                self.separate(tag)
            if is_remembered and tag not in _PLAIN:
                self._start(tag, attributes)

    def _start(self, tag: str, attributes: Attributes) -> None:
        """Begins what is code, or a part of a list or of a table."""
        if tag in _CODE or tag in _PRE:
            if tag in _PRE or not self._pre:
                self._pieces.append([tag, len(self._current)])
                self._pre += tag in _PRE
        elif tag == "table":
            self._end_row()
            self._blocks.end_table()
            self._rows.append(None)
        elif tag == "tr":
            self._end_row()
        elif tag in ("td", "th") and self._rows:
            self._end_cell()
            self._rows[-1] = self._rows[-1] or []
        elif tag in _LISTS:
            self._start_list(tag, dict(attributes))
        elif tag == "li" and self._lists[-1:] == [True]:
            self._list.items += 1
            self._blocks.open_item(_number(dict(attributes).get("value"), None))

    def _start_list(self, tag: str, attributes: dict) -> None:
        if not self._lists:
            self._list = _List(self._blocks.place())
        self._lists.append(not self._is_in_cell())
        if self._lists[-1] and tag == "ol":
            style = attributes.get("type")
            number = _number(attributes.get("start"), 1)
            self._blocks.open_list(style if style in _STYLES else "1", number)
        elif self._lists[-1]:
            self._blocks.open_list("-")

    def end(self, tag: str) -> None:
        """Ends a remembered element."""
        if tag == "a":
            self._open_links -= 1
        elif tag == "sup":
            self._current.append(superscripts.END)
        elif tag in _PRE or tag in _CODE:
            self._end_piece(tag)
        elif tag in ("td", "th"):
            self._end_cell()
        elif tag == "tr":
            self._end_row()
        elif tag == "table":
            self._end_row()
            self._rows = self._rows[:-1]
            self._blocks.end_table()
        else:
            self.separate(tag)
            if tag in _LISTS and self._lists and self._lists.pop():
                self._blocks.close_list()
                if self._cuts_menus and not self._lists and self._list.is_menu():
                    self._left_out("menu", self._blocks.cut(self._list.place))
            elif tag == "li" and self._lists[-1:] == [True]:
                self._blocks.close_item()

    def _end_piece(self, tag: str) -> None:
        """Marks the code that began last with `tag`; what began inside of it ends with it."""
        if all(piece[0] != tag for piece in self._pieces):
            return
        name = ""
        while name != tag:
            name, start = self._pieces.pop()
            text = "".join(self._current[start:]).replace(_BREAK, "\n")
            del self._current[start:]
            if name in _PRE:
                self._pre -= 1
                lines = marks.unmarked(text).strip("\n").split("\n")
                text = "\n".join(line.rstrip() for line in lines)
            self._current.append(marks.code(text))
            if name in _PRE and not self._pre:
                self.separate(name)

    def _row(self) -> list[str] | None:
        """The cells of the innermost table's open row; None outside of one."""
        return self._rows[-1] if self._rows else None

    def _is_in_cell(self) -> bool:
        return bool(self._rows) and self._rows[-1] is not None

    def _end_cell(self) -> None:
        if (row := self._row()) is not None:
            if text := marks.folded(self._taken().replace(_BREAK, " ")):
                row.append(text)

    def _end_row(self) -> None:
        """Ends a row; a table in a cell stands between the cells before it and those behind."""
        if (row := self._row()) is not None:
            self._end_cell()
            self._blocks.row(row)
            self._rows[-1] = None
        else:
            self._flush()

    def _flush(self) -> None:
        if not self._current:
            return
        paragraph: list[str] = []
        for line in map(marks.folded, [*self._taken().split(_BREAK), ""]):
            if line:
                paragraph.append(line)
            elif paragraph:  # two breaks are how pages without <p> part paragraphs
                self._blocks.add("\n".join(paragraph))
                paragraph = []

    def _taken(self) -> str:
        """Takes the current text; code that is still open goes on behind it."""
        if self._pieces:
            start = self._pieces[0][1]
            self._current[start:] = [marks.code("".join(self._current[start:]))]
            for piece in self._pieces:
                piece[1] = 0
        text = "".join(self._current)
        self._current.clear()
        if superscripts.START in text:
            text = marks.spaced(text)
        return superscripts.shown(text, self._left_out)


def _number(text: str | None, otherwise):
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,6}", text) else otherwise
