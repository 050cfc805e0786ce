"""PDF, by PDFium -> text of its pages, without running heads, page numbers and cut words."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.office import sandbox

# How PDFium marks a hyphen at the end of a line, behind which it leaves the line's end away.
_CUT = "\x02"
_CUT_WORD = re.compile(rf"([\w-]+){_CUT}(\w+)")
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(
    r"[\W_]*(?:page|seite|p\.|s\.)?\s*(?:\d{1,4}|[ivxlc]{1,7})[\W_]*", re.IGNORECASE
)
# A head stands among the first or last lines of a page, on so many pages, and on this share of
# those from its first to its last: a chapter's as well as a book's, on left or right pages only.
_EDGE_LINES = 2
_MIN_PAGES, _MIN_SHARE = 3, 0.4


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file as one document; pages that are pictures only are counted as scanned.

    Raises ReadError("scanned") where no page has text, and what sandbox.converted raises.
    """
    found = sandbox.converted(stream, "pdf", path=path)
    pages = [_lines(page["text"]) for page in found["pages"]]
    scanned = sum(page["is_scan"] for page in found["pages"])
    if scanned and not any(pages):
        message = f"{path}: {scanned} pages without a text layer: recognise their text first (OCR)"
        raise document.ReadError("scanned", message)
    for number, page in enumerate(found["pages"], 1):
        if page["is_scan"]:
            account.note("scanned_pages", f"{path}, page {number}")
    # First, so that a word that was cut is one word in what is read and in what is left of it.
    pages = _mended(pages)
    text = _joined(_without_heads(pages, account))
    account.read("\n".join(line for page in pages for line in page), text, where=path)
    if text:
        yield document.Document(id=path, text=text, path=path, title=sandbox.line(found["title"]))


def _lines(text: str) -> list[str]:
    cleaned = sandbox.clean(text.replace(_CUT, "\ufffe"))
    lines = [line.rstrip() for line in cleaned.replace("\ufffe", _CUT).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _without_heads(pages: list[list[str]], account: Account) -> Iterator[list[str]]:
    """Yields each page without the lines at its edges that other pages have too, and numbers."""
    places: dict[str, list[int]] = {}
    for number, page in enumerate(pages):
        for key in {_key(line) for line in _edges(page)}:
            places.setdefault(key, []).append(number)
    heads = {
        key
        for key, found in places.items()
        if len(found) >= max(_MIN_PAGES, _MIN_SHARE * (found[-1] - found[0] + 1))
    }
    gone: list[str] = []

    def is_head(line: str) -> bool:
        is_number = len(pages) > 1 and _NUMBER.fullmatch(line)
        if line.strip() and (_key(line) in heads or is_number):
            gone.append(line)
            return True
        return not line.strip()

    for page in pages:
        first, last = 0, len(page)
        while first < min(_EDGE_LINES, last) and is_head(page[first]):
            first += 1
        while last > max(first, len(page) - _EDGE_LINES) and is_head(page[last - 1]):
            last -= 1
        yield page[first:last]
    if gone:
        account.left_out("running_heads", "\n".join(gone))


def _key(line: str) -> str:
    """What is the same of a head on every page."""
    return _DIGITS.sub("0", line.strip())


def _edges(page: list[str]) -> list[str]:
    return [line for line in {*page[:_EDGE_LINES], *page[-_EDGE_LINES:]} if line.strip()]


def _joined(pages: Iterator[list[str]]) -> str:
    """The pages' text; a sentence that goes on does so in the next line."""
    text = ""
    for page in filter(None, pages):
        goes_on = page[0][:1].islower() and not text.endswith((".", "!", "?", ":"))
        text += ("" if not text else "\n" if goes_on else "\n\n") + "\n".join(page)
    return text


def _mended(pages: list[list[str]]) -> list[list[str]]:
    """Puts cut words together; the hyphen stays where the text has the word with it elsewhere."""
    lines = [line for page in pages for line in page]
    words = {word for line in lines for word in re.findall(r"\w+(?:-\w+)*", line)}

    def whole(match):
        left, right = match.groups()
        is_known = f"{left}-{right}" in words and left + right not in words
        has_hyphen = is_known or "-" in left  # day-to-day
        goes_on = right[0].islower() or (left.isupper() and right.isupper())
        return f"{left}-{right}" if has_hyphen or not goes_on else left + right

    def mended(line: str) -> str:
        while (found := _CUT_WORD.sub(whole, line)) != line:  # a long word is cut twice
            line = found
        return line.replace(_CUT, "-")

    return [[mended(line) for line in page] for page in pages]
