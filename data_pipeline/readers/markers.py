"""Finding documents inside a text file: the original's two block formats, or a user's separator."""

import re
from collections.abc import Callable, Iterable, Iterator

from data_pipeline import errors
from data_pipeline.readers import pieces

_START = "==== DOC START ===="
_END = "==== DOC END ===="
_RULE = "===="
_DOC, _TEXT, _END_DOC = "<|doc|>", "<|text|>", "<|enddoc|>"
# Enough to meet the first block of a file behind any comment at its head.
_PROBE_CHARS = 1 << 16


# Told of what stands between documents: a reason and its text.
Skip = Callable[[str, str], None]


def split(
    blocks: Iterable[str],
    *,
    separator: re.Pattern | None,
    skip: Skip = lambda reason, text: None,
) -> Iterator[tuple[int, str, str]]:
    """Yields (document number, part of its text, source name in its header or empty).

    The parts of a document that is longer than a million characters follow one another.
    """
    blocks = iter(blocks)
    head = ""
    for block in blocks:
        head += block
        if len(head) >= _PROBE_CHARS:
            break
    rest = _chained(head, blocks)
    if separator is None and _has_blocks(head):
        documents = _blocks(_lines(rest), skip)
    else:
        documents = ((number, part, "") for number, part in _separated(rest, separator, skip))
    yield from documents


def _has_blocks(head: str) -> bool:
    """Whether a file begins with a block, behind comments at most: one that only mentions a mark
    is text, all of it."""
    for line in head.split("\n"):
        if line.strip() and not line.startswith("#"):
            return line in (_START, _DOC)
    return False


def compile_separator(pattern: str) -> re.Pattern:
    """Returns the pattern of --doc_separator; raises UserError when it is none."""
    try:
        compiled = re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise errors.UserError(f"--doc_separator {pattern!r} is no pattern: {error}") from None
    if compiled.match(""):
        raise errors.UserError(f"--doc_separator {pattern!r} matches nothing: it must match text")
    return compiled


def _chained(head: str, blocks: Iterator[str]) -> Iterator[str]:
    if head:
        yield head
    yield from blocks


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        lines = (held + block).split("\n")
        held = lines.pop()
        yield from lines
    if held:
        yield held


def _separated(
    blocks: Iterator[str], separator: re.Pattern | None, skip: Skip
) -> Iterator[tuple[int, str]]:
    number, held, searched = 0, "", 0
    for block in blocks:
        held += block
        while separator is not None:
            found = separator.search(held, searched)
            # A match at the end might go on in the next block.
            if found is None or found.end() == len(held):
                searched = max(0, len(held) - _PROBE_CHARS) if found is None else found.start()
                break
            _refuse_empty(found, separator)
            skip("separators", found.group())
            yield number, held[: found.start()]
            number, held, searched = number + 1, held[found.end() :], 0
        while len(held) > 2 * pieces.MAX_DOCUMENT_CHARS:
            # The first pieces are final: only the last one can change with more text.
            *parts, last = pieces.cut(held, target_chars=pieces.MAX_DOCUMENT_CHARS)
            for part in parts:
                yield number, part
            held, searched = last, 0
    if separator is not None:
        start = 0
        for found in separator.finditer(held):
            _refuse_empty(found, separator)
            skip("separators", found.group())
            yield number, held[start : found.start()]
            number, start = number + 1, found.end()
        held = held[start:]
    if held:
        yield number, held


def _refuse_empty(found: re.Match, separator: re.Pattern) -> None:
    """A match of nothing would be found at its place for ever."""
    if found.start() == found.end():
        raise errors.UserError(
            f"--doc_separator {separator.pattern!r} matches between two characters: it must match "
            "text, which is then left out"
        )


def _blocks(lines: Iterator[str], skip: Skip) -> Iterator[tuple[int, str, str]]:
    """Bodies of the original's blocks; what stands outside of them is a file header and dropped."""
    number, state, source = 0, "outside", ""
    body: list[str] = []
    size = 0
    for line in lines:
        if state != "body" or line in (_END, _END_DOC, _START, _DOC):
            skip("markup/block_headers", line)
        if line in (_END, _END_DOC, _START, _DOC):
            # A new start also ends a body whose end mark is missing.
            if state == "body":
                yield number, "\n".join(body).strip("\n"), source
                number += 1
            body, size, source = [], 0, ""
            state = {_START: "header", _DOC: "fields"}.get(line, "outside")
        elif state == "header":
            if line == _RULE:
                state = "body"
            elif line.startswith("SOURCE:"):
                source = line.removeprefix("SOURCE:").split("|")[0].strip()
        elif state == "fields":
            if line == _TEXT:
                state = "body"
        elif state == "body":
            body.append(line)
            size += len(line) + 1
            if size > 2 * pieces.MAX_DOCUMENT_CHARS:
                text = "\n".join(body).lstrip("\n")
                *parts, last = pieces.cut(text, target_chars=pieces.MAX_DOCUMENT_CHARS)
                for part in parts:
                    yield number, part, source
                body, size = [last], len(last)
    if state == "body" and body:
        yield number, "\n".join(body).strip("\n"), source
