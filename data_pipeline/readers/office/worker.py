"""A document's converter in a process of its own: file on stdin, JSON on stdout (sandbox.py).

Run as a script, without this project. Before it reads a byte, it gives up memory and time beyond
its limits, every connection, every program and every file but those that Python itself reads.
"""

import html as entities
import io
import json
import os
import re
import resource
import sys
import zipfile
from typing import Any

_DENIED = ("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.fork", "os.system")
_MOVES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")


def main(kind: str, memory_bytes: int, cpu_secs: int, output_bytes: int) -> int:
    """Converts one file; what is wrong with it is {"error": kind, "message": why}."""
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_secs),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    convert = {"docx": _docx, "pdf": _pdf, "pptx": _pptx}[kind]
    sys.addaudithook(_guard)
    try:
        found = convert(sys.stdin.buffer.read())
    except MemoryError:
        found = {"error": "too_large", "message": f"needs more than {memory_bytes >> 20} MiB"}
    except Exception as error:  # whatever a converter raises on a damaged file
        found = {"error": "broken", "message": f"{type(error).__name__}: {error}"[:300]}
    json.dump(found, sys.stdout)
    return 0


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which nothing can remove: no network, no process, nothing written."""
    if event.startswith((*_DENIED, *_MOVES)):
        raise PermissionError(f"a converter may not {event}")
    if event == "open":
        _, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+"):
            raise PermissionError("a converter may not write")


def _pdf(data: bytes) -> dict[str, Any]:
    import pypdfium2

    try:
        file = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            return {"error": "encrypted", "message": "a password opens it"}
        raise
    image = pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
    pages = []
    for page in file:
        text = page.get_textpage().get_text_bounded()
        is_scan = not text.strip() and any(page.get_objects(filter=[image], max_depth=2))
        pages.append({"text": text, "is_scan": is_scan})
    return {"pages": pages, "title": file.get_metadata_dict().get("Title", "")}


def _docx(data: bytes) -> dict[str, Any]:
    import mammoth

    if _is_compound(data):
        return {"error": "encrypted", "message": "encrypted, or of Word before 2007"}
    # Pictures have no text; their alternative text is an attribute that stays.
    pictures = mammoth.images.img_element(lambda image: {"src": ""})
    html = mammoth.convert_to_html(io.BytesIO(data), convert_image=pictures).value
    return {"html": html, "title": _title(data), "left_out": _unconverted(data)}


def _unconverted(data: bytes) -> dict[str, str]:
    """The text of those parts of a Word file that the converter does not look at, by kind."""
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if part := re.fullmatch(r"word/(header|footer|comments)\d*\.xml", name):
                kind = "comments" if part[1] == "comments" else "running_heads"
                with archive.open(name) as file:
                    text = file.read(1 << 20).decode("utf-8", "ignore")
                found.setdefault(kind, []).extend(re.findall(r"<w:t(?: [^>]*)?>([^<]*)<", text))
    return {kind: entities.unescape(" ".join(texts)) for kind, texts in found.items()}


def _title(data: bytes) -> str:
    """What the properties of a Word file call it."""
    try:
        with (
            zipfile.ZipFile(io.BytesIO(data)) as archive,
            archive.open("docProps/core.xml") as file,
        ):
            found = re.search(
                r"<dc:title[^>]*>([^<]*)<", file.read(1 << 20).decode("utf-8", "ignore")
            )
    except KeyError:  # it has none
        return ""
    return entities.unescape(found.group(1)) if found else ""


def _pptx(data: bytes) -> dict[str, Any]:
    import pptx

    if _is_compound(data):
        return {"error": "encrypted", "message": "encrypted, or of PowerPoint before 2007"}
    deck = pptx.Presentation(io.BytesIO(data))
    slides = []
    for slide in deck.slides:
        notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
        blocks = [block for shape in _shapes(slide.shapes) for block in _blocks(shape)]
        slides.append([*blocks, notes.text if notes is not None else ""])
    return {"slides": slides, "title": deck.core_properties.title or ""}


def _shapes(shapes):
    """Every shape, those of groups in place of them."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _blocks(shape):
    if shape.has_text_frame:
        yield "\n".join(paragraph.text for paragraph in shape.text_frame.paragraphs)
    elif getattr(shape, "has_table", False):
        for row in shape.table.rows:
            yield " | ".join(" ".join(cell.text.split()) for cell in row.cells)


def _is_compound(data: bytes) -> bool:
    """Whether a file is OLE's container, in which Office puts what it encrypts."""
    return data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
