"""mdBook's own directives, resolved before Markdown is parsed, as mdBook does it.

{{#include file:lines}}, {{#rustdoc_include file:anchor}}, {{#playground file}}, and the listings
of the Rust book, whose caption and file name are attributes of a tag.
"""

import re

from data_pipeline import document
from data_pipeline.readers.includes import MAX_DEPTH, Includes, NotIncludedError

_DIRECTIVE = re.compile(
    r"(?P<indent>^[ \t]*)?(?P<escape>\\)?\{\{\s*"
    r"#(?P<name>include|rustdoc_include|playground|playpen|title)\s+"
    r"(?P<target>[^{}\n]{1,500}?)\s*\}\}",
    re.MULTILINE,
)
_LISTING = re.compile(r"^[ \t]*<Listing((?:\s+[\w-]+=\"[^\"]*\")*)\s*>|^[ \t]*</Listing>", re.M)
_ATTRIBUTE = re.compile(r"([\w-]+)=\"([^\"]*)\"")
_ANCHOR = re.compile(r"ANCHOR(?P<end>_END)?:\s*(?P<name>[\w.-]+)")
_LINES = re.compile(r"(\d*)(?::(\d*))?\Z")


def expanded(raw: str, includes: Includes, left_out: document.LeftOut) -> str:
    """Returns the page with what its directives name; `left_out` hears of what is not there."""
    return _with_listings(_with_files(raw, includes, left_out, beside="", depth=0))


def _with_files(raw, includes, left_out, *, beside: str, depth: int) -> str:
    def directive(match):
        indent, target = match["indent"] or "", match["target"]
        if match["escape"]:
            return match.group().replace("\\", "", 1)
        if match["name"] == "title":
            left_out("page_settings", match.group().strip())
            return ""
        path, _, part = target.split()[0].partition(":")
        try:
            if depth >= MAX_DEPTH:
                raise NotIncludedError("include_refused")
            text, name = includes.text(path, beside=beside)
        except NotIncludedError as error:
            left_out(str(error), match.group().strip())
            return ""
        text = _part(text, part)
        if match["name"] == "include":
            text = _with_files(text, includes, left_out, beside=name, depth=depth + 1)
        elif match["name"].startswith("play"):
            text = f"```rust\n{text}\n```"
        return "\n".join(indent + line if line else "" for line in text.split("\n"))

    return _DIRECTIVE.sub(directive, raw)


def _part(text: str, part: str) -> str:
    """The lines that `part` names: 3, 3:, :5, 3:5 or an anchor; anchors' own lines go."""
    lines = text.rstrip("\n").split("\n")
    numbers = _LINES.match(part)
    if numbers:
        first, last = numbers.groups()
        start = int(first or 1) - 1
        end = (start + 1 if first else None) if last is None else int(last) if last else None
        return "\n".join(line for line in lines[max(0, start) : end] if not _ANCHOR.search(line))
    kept, is_inside = [], False
    for line in lines:
        anchor = _ANCHOR.search(line)
        if anchor and anchor["name"] == part:
            is_inside = not anchor["end"]
        elif is_inside and not anchor:
            kept.append(line)
    return "\n".join(kept)


def _with_listings(raw: str) -> str:
    """A listing's file name stands above it, its number and caption below."""
    caption = ""

    def listing(match):
        nonlocal caption
        if match.group(1) is None:
            return f"\n{caption}\n" if caption else ""
        found = dict(_ATTRIBUTE.findall(match.group(1)))
        number = f"Listing {found['number']}" if "number" in found else ""
        caption = ": ".join(filter(None, (number, " ".join(found.get("caption", "").split()))))
        return f"Filename: {found['file-name']}\n" if "file-name" in found else ""

    return _LISTING.sub(listing, raw)
