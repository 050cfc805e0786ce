"""RFC text files -> one document each, without the pages' headers and footers.

The rule is per page: RFCs from 8650 on and a few of the oldest have no pages at all.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account

# "Postel   [Page 2]", "[Page 2]", and of even pages in some of the oldest "[page 2]   Postel".
_FOOTER = re.compile(
    r"^\s*\S.*\[\s*Page\s+[\divxlc]+\s*\]\s*$|^\s*\[\s*Page\s+\w+\s*\](?:\s{3,}\S.{0,60})?\s*$",
    re.I,
)
_HEADER = re.compile(r"^(?:RFC|Request for Comments:?|Internet[- ]Draft)\s+.*\d{4}\s*$", re.I)
_PAGE_NUMBER = re.compile(r"^\s*-?\s*\d{1,4}\s*-?\s*$")
# Older headers: the title alone, a date alone. Only ever looked for in a page's first lines.
_OLD_HEADER = re.compile(
    r"^(?=.{0,90}$).*\b(?:January|February|March|April|May|June|July|August|September|October|"
    r"November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\.?\s+(?:\d{1,2},?\s+)?"
    r"(?:19|20)\d\d\s*$"
)
_LEADING = re.compile(r"(?:[ \t]*\n)+")
_SENTENCE_END = (".", ":", ";", "?", "!", ")", "-", "|", "+")


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the RFC as one document; ISO 8859-1 where it is not UTF-8, as the oldest are."""
    data = document.read_bytes(stream, path=path)
    if b"\0" in data and data.isascii():
        data = data.replace(b"\0", b"")  # what padded lines on tapes
    raw = document.decode(data, path=path, encodings=document.WESTERN)
    text = convert(raw, account.left_out)
    account.read(raw, text, where=path)
    if text:
        yield document.Document(id=path, text=text, path=path)


def convert(raw: str, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns the RFC's text; pages are joined, a paragraph across two of them as well."""
    # Text is handled as whole pages and only their first and last lines one by one: it is
    # this that makes 50 MB/s possible.
    if " \n" in raw or "\t\n" in raw:
        raw = "\n".join([line.rstrip(" \t") for line in raw.split("\n")])
    pages = raw.split("\f")
    running = _running_heads(pages)
    joined = ""
    parts: list[str] = []
    for number, page in enumerate(pages):
        whole = page
        page = _page_body(page, first=number == 0, running=running)
        if page != whole.strip("\n"):
            _tell(whole, page, left_out)
        if not page:
            continue
        if parts:
            parts.append("\n" if _continues(_last_line(joined), _first_line(page)) else "\n\n")
        parts.append(page)
        joined = page
    text = "".join(parts)
    if "[Page" in text or "[page" in text or "[PAGE" in text:
        text = "\n".join(_without_stray_footers(text.split("\n"), left_out))
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")


def _tell(whole: str, page: str, left_out: document.LeftOut) -> None:
    """Tells of what stood above and below a page's text."""
    at = whole.find(page)
    left_out("markup/page_headers", f"{whole[:at]}\n{whole[at + len(page) :]}")


def _first_line(page: str) -> str:
    return page.partition("\n")[0]


def _last_line(page: str) -> str:
    return page[page.rfind("\n") + 1 :]


def _running_heads(pages: list[str]) -> frozenset[str]:
    """First lines that open at least three pages, and half of them: the old RFCs' title lines."""
    counts: dict[str, int] = {}
    for page in pages[1:]:
        head = _first_line(page.lstrip()).strip()
        counts[head] = counts.get(head, 0) + 1
    enough = max(3, len(pages) // 2)
    return frozenset(head for head, count in counts.items() if head and count >= enough)


def _page_body(page: str, *, first: bool, running: frozenset[str]) -> str:
    page = whole = page.rstrip()
    has_number = first  # a page has one; above it, a number is a table's
    while page:
        last = _last_line(page)
        is_number = not has_number and bool(_PAGE_NUMBER.match(last))
        if not (is_number or _FOOTER.match(last)):
            break
        has_number = True
        page = page[: -len(last)].rstrip()
    has_foot = page != whole
    page = _without_leading_blanks(page)
    if first or not page:
        return page
    head, _, rest = page.partition("\n")
    if not has_foot and rest[:1] == "\n" and _PAGE_NUMBER.match(head):
        return _without_leading_blanks(rest)
    if _HEADER.match(head.strip()) or head.strip() in running or _OLD_HEADER.match(head.strip()):
        page = rest
        # A header may have a second line, directly below it.
        head, _, rest = page.partition("\n")
        if _OLD_HEADER.match(head.strip()):
            page = rest
    return _without_leading_blanks(page)


def _without_leading_blanks(page: str) -> str:
    blanks = _LEADING.match(page)
    return page[blanks.end() :] if blanks else page


def _continues(last: str, following: str) -> bool:
    """Whether a paragraph runs over the page's end: same indentation, no sentence finished."""
    indent = len(last) - len(last.lstrip())
    return (
        bool(last.strip())
        and len(following) - len(following.lstrip()) == indent
        and len(last) > 55
        and not last.endswith(_SENTENCE_END)
        and following.lstrip()[:1].islower()
    )


def _without_stray_footers(lines: list[str], left_out: document.LeftOut) -> list[str]:
    """Footers of files that lost their form feeds: the header below goes with its footer."""
    kept: list[str] = []
    after_footer = False
    for line in lines:
        if _FOOTER.match(line):
            left_out("markup/page_headers", line)
            after_footer = True
            while kept and not kept[-1]:
                kept.pop()
            kept.append("")
        elif after_footer and (not line.strip() or _HEADER.match(line)):
            left_out("markup/page_headers", line)
        else:
            after_footer = False
            kept.append(line)
    return kept
