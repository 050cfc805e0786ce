"""Blocks of text with lists and tables: how every reader of Markdown and HTML writes them."""

import dataclasses

from data_pipeline.readers import marks

# Deeper lists are not indented further: fifty levels are a mistake or an attack.
_MAX_LISTS = 50
_ROMAN = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))


@dataclasses.dataclass
class _List:
    style: str  # "-", or the first number of a numbered one: 1 a A i I
    number: int
    is_pending: bool = False  # the marker of an item waits for its text


class Blocks:
    """Text put together block by block; an item of a list begins with its marker."""

    def __init__(self):
        self._parts: list[str] = []
        self._lists: list[_List] = []
        self._deeper = 0
        self._ends_in_list = False
        self._ends_in_table = False

    def text(self) -> str:
        """Returns what was added, blocks separated by a blank line."""
        return "".join(self._parts).strip("\n")

    def place(self) -> int:
        """Where the text is now; `cut` takes away what follows."""
        return len(self._parts)

    def cut(self, place: int) -> str:
        """Takes away and returns what was added since a place."""
        text = "".join(self._parts[place:]).strip("\n")
        del self._parts[place:]
        self._ends_in_list = self._ends_in_table = False
        return text

    def open_list(self, style: str, number: int = 1) -> None:
        """Begins a list of bullets ("-") or of numbers written like `style`."""
        if len(self._lists) < _MAX_LISTS:
            self._lists.append(_List(style, number))
        else:
            self._deeper += 1

    def close_list(self) -> None:
        """Ends the innermost list."""
        if self._deeper:
            self._deeper -= 1
        elif self._lists:
            self._lists.pop()
            self._ends_in_list = self._ends_in_list and bool(self._lists)

    def open_item(self, number: int | None = None) -> None:
        """Begins an item; its marker stands before the next block."""
        if self._lists:
            self._lists[-1].is_pending = True
            self._lists[-1].number = self._lists[-1].number if number is None else number

    def close_item(self) -> None:
        """Ends an item; the marker of an empty one is dropped."""
        if self._lists:
            self._lists[-1].is_pending = False
            self._lists[-1].number += 1

    @property
    def item_is_empty(self) -> bool:
        """Whether an item has begun that has no text yet."""
        return bool(self._lists) and self._lists[-1].is_pending

    def add(self, text: str) -> None:
        """Adds a block; only what stands in a list gets an indentation of its own."""
        self._add(text, is_glued=False)

    def code(self, text: str) -> None:
        """Adds text that stands as it was written."""
        if text.strip():
            self.add(marks.code(text.rstrip("\n")))

    def row(self, cells: list[str]) -> None:
        """Adds a row of a table; rows are neighbours until anything else is added."""
        text = marks.row(cells)
        if text.strip(" |"):
            self._add(text, is_glued=self._ends_in_table)
            self._ends_in_table = True

    def end_table(self) -> None:
        """The next row begins another table."""
        self._ends_in_table = False

    def _add(self, text: str, *, is_glued: bool) -> None:
        if not text:
            return
        first, indent = "", ""
        for each in self._lists:
            marker = item_marker(each.style, each.number)
            first += marker if each.is_pending else " " * len(marker)
            indent += " " * len(marker)
        is_item = any(each.is_pending for each in self._lists)
        for each in self._lists:
            each.is_pending = False
        head, *rest = text.split("\n")
        lines = [first + head, *(indent + line if line.strip() else line for line in rest)]
        # Items of a list are neighbours; all else is separated by a blank line.
        is_glued = is_glued or (is_item and self._ends_in_list)
        self._parts.append(("\n" if is_glued else "\n\n") + "\n".join(lines))
        self._ends_in_list = bool(self._lists)
        self._ends_in_table = False


def item_marker(style: str, number: int) -> str:
    """What stands before an item: "- ", or its number written like the first one, 1 a A i I."""
    if style == "-":
        return "- "
    if style in "iI" and 0 < number < 50:
        left, written = number, ""
        for value, letters in _ROMAN:
            written += letters * (left // value)
            left %= value
    elif style in "aA" and 0 < number <= 26:
        written = chr(ord("a") + number - 1)
    else:
        return f"{number}. "
    return f"{written.upper() if style in 'AI' else written}. "
