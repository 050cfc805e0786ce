"""Jupyter notebooks (formats 3 and 4) -> prose and code in the order of the cells.

What code printed is left out, counted: it repeats the code's data, and is gone in a clean notebook.
"""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import marks
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.markup import html, markdown

_FORMS = "text text/plain text/markdown markdown text/latex latex text/html html".split()
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours of a terminal


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the notebook as one document; raises ReadError("json_broken") for what is none."""
    cells = _cells(document.read_text(stream, path=path), path)
    parts, titles, raws = [], [], []
    for cell in cells:
        kind, raw = cell.get("cell_type"), _joined(cell.get("source", cell.get("input", "")))
        raws.append(raw)
        if kind in ("markdown", "heading"):
            if kind == "heading":  # of format 3
                raw = f"{'#' * _level(cell)} {raw}"
            text, title = markdown.titled(raw, macros=False, left_out=account.left_out)
            parts.append(text)
            titles.append(title)
        elif kind == "code":
            parts.append(marks.code(raw.strip("\n")))
            for printed in _outputs(cell):
                raws.append(printed)
                account.left_out("outputs", printed)
        else:
            parts.append(raw.strip("\n"))
    text = "\n\n".join(part for part in parts if part.strip())
    raw = html.unescaped("\n\n".join(raws))
    account.read(raw, text, where=path, pieces=markdown.MARKUP)
    if text:
        title = next(filter(None, titles), "")
        yield document.Document(id=path, text=text, path=path, title=title)


def _cells(raw: str, path: str) -> list[dict]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise document.ReadError("json_broken", f"{path}: not JSON ({error})") from None
    pages = found.get("worksheets", [found]) if isinstance(found, dict) else None
    if not isinstance(pages, list):
        raise document.ReadError("json_broken", f"{path}: JSON, but no notebook")
    cells = []
    for page in pages:
        inside = page.get("cells") if isinstance(page, dict) else None
        if not isinstance(inside, list) or not all(isinstance(cell, dict) for cell in inside):
            raise document.ReadError("json_broken", f"{path}: JSON, but no notebook")
        cells += inside
    return cells


def _joined(source) -> str:
    """Text of a cell: one string, or a list of lines with their ends; without lone surrogates."""
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str))
    return text.encode("utf-8", "ignore").decode().replace("\r\n", "\n").replace("\0", "")


def _level(cell: dict) -> int:
    level = cell.get("level")
    return level if isinstance(level, int) and 1 <= level <= 6 else 1


def _outputs(cell: dict) -> Iterator[str]:
    """What a cell's code printed or raised, once of several forms; pictures have no text."""
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            text = _ESCAPES.sub("", _printed(output))
            if text.strip():
                yield text


def _printed(output: dict) -> str:
    """The plainest form of an output: a stream's, its data's (format 3 has it beside), an error."""
    found = output.get("data")
    data = {**output, **(found if isinstance(found, dict) else {})}
    for name in _FORMS:
        if text := _joined(data.get(name, "")):
            return html.convert(text, fragment=True) if name.endswith("html") else text
    if "application/json" in data:
        return json.dumps(data["application/json"], ensure_ascii=False)
    raised = [output.get("ename", ""), output.get("evalue", "")]
    lines = output.get("traceback") or raised
    return _joined([f"{line}\n" for line in lines]) if isinstance(lines, list) else _joined(lines)
