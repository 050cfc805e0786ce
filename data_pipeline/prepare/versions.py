"""Several versions of one file beside each other: report.docx, report_v2.docx, report (1).pdf.

Files whose names differ in a mark of a version only are compared by their text.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.prepare import places
from data_pipeline.readers import compression, table

# Bare numbers are none: chapter1 and chapter2 are two texts.
_MARK = re.compile(
    r"[\s.-]*(?:\(\d+\)|\b(?:copy|kopie|final|draft|entwurf|old|alt|new|neu|backup)\b(?:[\s.-]*\d+)?"
    r"|(?<![a-z])(?:v|ver|version|rev|revision)[\s.-]?\d+(?:[. ]\d+)*"
    r"|(?<!\d)\d{4}-?\d{2}-?\d{2})\Z"
)
# Held in memory together, and read as a whole.
_MAX_BYTES = 8 << 20
_SHINGLE_WORDS = 5
_SIMILARITY = 0.5  # Jaccard, of shingles: half of the sentences are the same
_WORD = re.compile(r"\w+")


def grouped(files: list[places.File]) -> Iterator[list[places.File]]:
    """Yields the files, those that may be versions of one together, the newest first."""
    groups: dict[object, list[places.File]] = {}
    for number, file in enumerate(files):
        is_page = not file.is_named and file.reader in _PAGES
        if is_page and file.path.stat().st_size <= _MAX_BYTES:
            groups.setdefault((file.path.parent, _stem(file.path.name)), []).append(file)
        else:
            groups[number] = [file]
    for group in groups.values():
        yield sorted(group, key=lambda file: (-file.path.stat().st_mtime_ns, file.name))


def is_version(text: str, newer: str) -> bool:
    """Whether a text is nearly equal to a newer one."""
    one, other = _shingles(text), _shingles(newer)
    return len(one & other) >= _SIMILARITY * len(one | other) > 0


# Readers of files that are one text each; of code, neighbours of one name are not compared.
_PAGES = frozenset(
    name
    for name, each in table.READERS.items()
    if each.takes == "file" and (each.converts or name in ("pdf", "plain", "pptx"))
) - {"cwe", "mailbox", "mediawiki"}


def _stem(name: str) -> str:
    """A file's name without suffix and marks of a version; itself where nothing else is left."""
    stem = Path(compression.stripped(name)).stem.lower().replace("_", " ")
    while (match := _MARK.search(stem)) and match.start():
        stem = stem[: match.start()]
    return stem


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    width = min(_SHINGLE_WORDS, len(words))
    return set(zip(*(words[start:] for start in range(width)), strict=False))
