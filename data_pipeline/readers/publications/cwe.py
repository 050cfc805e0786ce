"""MITRE CWE catalogue (cwec_v*.xml) -> one document per weakness.

Kept: everything that explains a weakness, its consequences, detection, mitigations, examples.
Left out: change history (a third of the file), mapping notes, external identifiers.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element

from data_pipeline import document
from data_pipeline.readers import marks, superscripts, xmlsafe
from data_pipeline.readers.account import NONE, Account

# Section of a weakness -> its heading. The order in the document is that of the file.
_SECTIONS = {
    "Extended_Description": "",
    "Background_Details": "Background",
    "Alternate_Terms": "Alternate terms",
    "Modes_Of_Introduction": "Modes of introduction",
    "Common_Consequences": "Common consequences",
    "Detection_Methods": "Detection methods",
    "Potential_Mitigations": "Potential mitigations",
    "Demonstrative_Examples": "Examples",
    "Observed_Examples": "Observed examples",
    "Notes": "Notes",
}
# Parts that say what the sentence beside them is about: shown as "Phase, Phase: sentence".
_LABELS = tuple(
    "Scope Impact Likelihood Phase Strategy Method Term Reference Effectiveness".split()
)
_BODIES = ("Description", "Note", "Effectiveness_Notes")
# Elements that separate no words.
_INLINE = frozenset("b i u sub span em strong".split())
_SPACE = re.compile(r"\s+")
_REFERENCE = re.compile(r"\s*\[REF-\d+\]")


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the weaknesses that are not deprecated, in the order of the file."""

    def outside(text):
        if not text.isspace():
            account.skip("categories_and_views", text)

    wanted = frozenset({"Weakness"})
    for weakness in xmlsafe.subtrees(stream, wanted=wanted, path=path, outside=outside):
        number, name = weakness.get("ID", ""), weakness.get("Name", "")
        raw = f"CWE-{number}: {name}\n{xmlsafe.text(weakness, inline=_INLINE)}"
        if weakness.get("Status") == "Deprecated":
            account.note("deprecated", name)
            account.skip("deprecated", raw)
            continue
        text = _text(weakness)
        where = f"{path}#CWE-{number}"
        account.read(raw, text, where=where, pieces=lambda _, w=weakness: _pieces(w))
        yield document.Document(id=where, text=text, path=path, title=name)


def _pieces(weakness: Element) -> Iterator[tuple[str, str]]:
    for section in weakness:
        name = xmlsafe.local(section.tag)
        text = xmlsafe.text(section, inline=_INLINE)
        if name not in _SECTIONS and name != "Description":
            yield name.lower(), text
        elif name == "Observed_Examples":
            links = (
                part.text or "" for part in section.iter() if xmlsafe.local(part.tag) == "Link"
            )
            yield "markup/link_targets", " ".join(links)
        yield "markup/references", " ".join(_REFERENCE.findall(text))


def _text(weakness: Element) -> str:
    blocks = [f"CWE-{weakness.get('ID', '')}: {weakness.get('Name', '')}"]
    for section in weakness:
        name = xmlsafe.local(section.tag)
        if name == "Description":
            blocks += _prose(section)
        elif name in _SECTIONS:
            body = _prose(section) if name == "Extended_Description" else _entries(section)
            if body:
                blocks += ([_SECTIONS[name]] if _SECTIONS[name] else []) + body
    return "\n\n".join(blocks)


def _entries(section: Element) -> list[str]:
    blocks = []
    for entry in section:
        name = xmlsafe.local(entry.tag)
        if name == "Demonstrative_Example":
            blocks += _example(entry)
            continue
        if not len(entry) or xmlsafe.local(entry[0].tag) not in _LABELS + _BODIES:
            blocks += _prose(entry)
            continue
        labels = [_line(part) for part in entry if xmlsafe.local(part.tag) in _LABELS]
        bodies = [part for part in entry if xmlsafe.local(part.tag) in _BODIES]
        body = [block for part in bodies for block in _prose(part)]
        head = ", ".join(dict.fromkeys(labels))
        if head and body:
            body[0] = f"{head}: {body[0]}"
        elif head:
            body = [head]
        blocks += body
    return blocks


def _example(entry: Element) -> list[str]:
    blocks = []
    for part in entry:
        if xmlsafe.local(part.tag) == "Example_Code":
            code = _code(part)
            if code:
                blocks.append(marks.code(code))
        else:
            blocks += _prose(part)
    return blocks


def _prose(element: Element) -> list[str]:
    """Paragraphs of an element that holds plain text or XHTML, white space folded."""
    blocks: list[str] = []
    current: list[str] = []
    numbers: list[int | None] = []  # of the open lists; None for one of bullets

    def taken():
        text = superscripts.shown("".join(current))
        current.clear()
        return _REFERENCE.sub("", _SPACE.sub(" ", text).strip())

    def flush(prefix=""):
        if text := taken():
            blocks.append(prefix + text)

    def row(node):
        cells = []
        for cell in node:
            walk(cell)
            cells.append(taken())
        if any(cells):
            blocks.append(marks.row(cells))

    def walk(node):
        name = xmlsafe.local(node.tag)
        is_block = name in ("p", "div", "li", "tr", "ul", "ol", "table")
        if is_block:
            flush()
        if name == "tr":
            row(node)
            return
        if name in ("ul", "ol"):
            numbers.append(1 if name == "ol" else None)
        current.append(superscripts.START if name == "sup" else "")
        current.append(node.text or "")
        for child in node:
            if xmlsafe.local(child.tag) == "br":
                current.append(" ")
            else:
                walk(child)
            current.append(child.tail or "")
        current.append(superscripts.END if name == "sup" else "")
        if name == "li":
            number = numbers[-1] if numbers else None
            flush("- " if number is None else f"{number}. ")
            if number is not None:
                numbers[-1] = number + 1
        elif is_block:
            flush()
        if name in ("ul", "ol"):
            numbers.pop()

    walk(element)
    flush()
    return _join_items(blocks)


_ITEM = re.compile(r"(?:-|\d+\.) ")


def _join_items(blocks: list[str]) -> list[str]:
    """Puts the items of a list on neighbouring lines of one block."""
    joined: list[str] = []
    for block in blocks:
        if _ITEM.match(block) and joined and _ITEM.match(joined[-1].rpartition("\n")[2]):
            joined[-1] += "\n" + block
        else:
            joined.append(block)
    return joined


def _code(element: Element) -> str:
    """Example code: <br/> ends a line, a nested <div> indents by four spaces."""
    lines = [""]

    def add(text, indent):
        text = _SPACE.sub(" ", text or "")
        if not lines[-1].strip():
            text = text.lstrip()
            if text:
                lines[-1] = "    " * indent + text
        else:
            lines[-1] += text

    def walk(node, indent):
        add(node.text, indent)
        for child in node:
            name = xmlsafe.local(child.tag)
            if name == "br":
                lines.append("")
            elif name in ("div", "p"):
                lines.append("")
                walk(child, indent + (name == "div"))
                lines.append("")
            else:
                walk(child, indent)
            add(child.tail, indent)

    walk(element, 0)
    kept = [line.rstrip() for line in lines if line.strip()]
    # The outermost div is only a frame: its indentation is not the code's.
    margin = min((len(line) - len(line.lstrip()) for line in kept), default=0)
    return "\n".join(line[margin:] for line in kept)


def _line(element: Element) -> str:
    return _SPACE.sub(" ", "".join(element.itertext())).strip()
