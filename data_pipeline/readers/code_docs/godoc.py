"""Go sources -> the documentation comments, each above its declaration.

Comments directly above package, func (methods too), type, var and const, in both forms.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account

MAX_CHARS = 4 * 1024 * 1024
_DECLARATION = re.compile(r"(package|func|type|var|const)\b")
_DIRECTIVE = re.compile(r"//(?:go:|line |export |extern |\s*\+build)")

# What may hold a backtick that opens no raw string, and raw strings that end on their line.
_LITERAL = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|//.*|/\*.*?\*/""")
_OPENS = re.compile(r"(?:type\b.*\b(?:struct|interface)\s*\{|(?:type|var|const)\s*\()\Z")


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file's documentation as one document."""
    raw = document.read_text(stream, path=path, max_bytes=MAX_CHARS)
    text = convert(raw)
    account.read(raw, text, where=path, pieces=_pieces)
    if text:
        yield document.Document(id=path, text=text, path=path)


def _pieces(raw: str) -> Iterator[tuple[str, str]]:
    """Comments that document no declaration, and code."""
    comments = [match.group() for match in _LITERAL.finditer(raw) if match.group()[:1] == "/"]
    yield "other_comments", "\n".join(comments)
    yield "markup/code", raw


def convert(raw: str) -> str:
    """Returns every comment that belongs to a declaration; a licence header belongs to none."""
    blocks: list[str] = []
    comment: list[str] = []
    in_block = in_raw_string = in_members = False
    for line in raw.split("\n"):
        stripped = line.strip()
        if in_raw_string:
            _, ended, rest = line.partition("`")
            in_raw_string = not ended or "`" in _LITERAL.sub("", rest)
        elif in_block:
            end = stripped.find("*/")
            comment.append(line.rstrip() if end < 0 else stripped[:end])
            in_block = end < 0
        elif stripped.startswith("/*"):
            end = stripped.find("*/", 2)
            comment = [stripped[2:] if end < 0 else stripped[2:end]]
            in_block = end < 0
        elif stripped.startswith("//"):
            if not _DIRECTIVE.match(stripped):
                comment.append(line.lstrip()[2:].removeprefix(" "))
        else:
            if comment and (_DECLARATION.match(line) or (in_members and _is_member(line))):
                blocks.append(_block(stripped, "\n".join(comment).strip("\n").rstrip()))
            comment = []
            code = _LITERAL.sub("", line).rstrip()
            in_raw_string = "`" in code
            if code[:1] not in ("", " ", "\t"):
                in_members = bool(_OPENS.match(code))
    return "\n\n".join(block for block in blocks if block)


def _block(line: str, text: str) -> str:
    if not text.strip():
        return ""
    # "const (" opens a group: what the comment says holds for all of it.
    head = line.removesuffix("{").removesuffix(" (").rstrip()
    body = "\n".join(f"    {each}".rstrip() for each in text.split("\n"))
    return f"{head}\n{body}"


def _is_member(line: str) -> bool:
    """An exported field, method of an interface or name of a group: one tab, then a capital."""
    return line.startswith("\t") and line[1:2].isupper()
