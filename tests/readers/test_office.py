"""Real converters on real files, each in its own process, and what that process may not do."""

import io
import subprocess
import sys
import zipfile

import pytest

from data_pipeline import document, errors
from data_pipeline.readers import account, marks, table
from data_pipeline.readers.office import sandbox, worker

FULL = pytest.mark.full


def read(kind, data, counted=account.NONE):
    return list(table.READERS[kind].read(io.BytesIO(data), path=f"f.{kind}", account=counted))


def pdf(*contents, extra="", trailer=""):
    """A PDF whose pages have these content streams."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(contents)))
    parts = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {len(contents)}>>"]
    parts.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for n, content in enumerate(contents):
        parts.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Resources<</Font<</F 3 0 R>>"
            f"/XObject<</I {4 + 2 * len(contents)} 0 R>>>>/Contents {5 + 2 * n} 0 R>>"
        )
        parts.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    picture = "<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray"
    parts += [f"{picture}/BitsPerComponent 8/Length 1>>stream\nx\nendstream", extra or "<<>>"]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode("latin-1")
    start = len(data)
    data += f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n".encode()
    data += "".join(f"{place:010d} 00000 n \n" for place in places).encode()
    end = f"trailer<</Size {len(parts) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF"
    return data + end.encode("latin-1")


def lines(*texts):
    shown = "".join(f"({text}) Tj 0 -20 Td " for text in texts)
    return f"BT /F 12 Tf 20 250 Td {shown}ET"


SCAN = "100 0 0 100 0 0 cm /I Do"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATED = "http://schemas.openxmlformats.org/package/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
MAIN_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"


def docx(body, relations="", **others):
    """A Word file with this body."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{TYPES}"><Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{MAIN_TYPE}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{RELATED}"><Relationship Id="r" Type="{OFFICE}/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{WORD}" xmlns:r="{OFFICE}"><w:body>{body}</w:body></w:document>',
        )
        for name, text in others.items():
            archive.writestr(name, text)
    return stream.getvalue()


def paragraph(text, style=""):
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


@FULL
def test_pdf():
    pytest.importorskip("pypdfium2")
    pages = [lines("The Book", f"Sentence {'i' * n}.", str(n)) for n in range(1, 4)]
    counted = account.Words()
    (found,) = read("pdf", pdf(*pages, SCAN), counted)
    assert found.text == "Sentence i.\n\nSentence ii.\n\nSentence iii."
    assert counted.notes == {"scanned_pages": 1} and counted.reasons == {"running_heads": 9}
    with pytest.raises(document.ReadError, match="1 pages without a text layer"):
        read("pdf", pdf(SCAN))
    locked = f"<</Filter/Standard/V 1/R 2/P -4/O({'o' * 32})/U({'u' * 32})>>"
    with pytest.raises(document.ReadError) as caught:
        read("pdf", pdf(lines("x"), extra=locked, trailer="/Encrypt 7 0 R/ID[(a)(b)]"))
    assert caught.value.kind == "encrypted_pdf"


@FULL
def test_word():
    pytest.importorskip("mammoth")
    cells = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("left", "right"))
    body = paragraph("Heading", "Heading1") + paragraph("One &amp; <!-- x -->two.")
    body += f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    core = '<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A &amp; B</dc:title></c>'
    counted = account.Words()
    (found,) = read("docx", docx(body, **{"docProps/core.xml": core}), counted)
    assert marks.unmarked(found.text) == "Heading\n\nOne & two.\n\nleft | right"
    assert found.title == "A & B" and counted.total["unaccounted"] == 0
    part = f'<w:x xmlns:w="{WORD}">{paragraph("Not &amp; taken")}</w:x>'
    others = {"word/header1.xml": part, "word/comments.xml": part}
    counted = account.Words()
    (found,) = read("docx", docx(body, **others), counted)
    assert "taken" not in found.text
    assert counted.reasons["running_heads"] == counted.reasons["comments"] == 2


@FULL
def test_slides():
    pptx = pytest.importorskip("pptx")
    deck = pptx.Presentation()
    deck.core_properties.title = "Deck"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "First"
    slide.placeholders[1].text = "one\ntwo"
    slide.notes_slide.notes_text_frame.text = "said"
    cells = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    cells.cell(0, 0).text, cells.cell(0, 1).text = "a", "b\nc"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "inside"
    stream = io.BytesIO()
    deck.save(stream)
    (found,) = read("pptx", stream.getvalue())
    assert found.text == "First\n\none\ntwo\n\na | b c\n\ninside\n\nsaid" and found.title == "Deck"


@FULL
@pytest.mark.parametrize("kind", ["docx", "pdf", "pptx"])
def test_what_no_converter_reads(kind, monkeypatch):
    pytest.importorskip(sandbox._PACKAGES[kind])
    for data in (b"", b"no document", b"PK\x03\x04", b"%PDF-1.4\n", docx("<w:p>")[:300]):
        with pytest.raises(document.ReadError) as caught:
            read(kind, data)
        assert caught.value.kind == f"broken_{kind}"
    if kind != "pdf":
        with pytest.raises(document.ReadError) as caught:
            read(kind, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
        assert caught.value.kind == f"encrypted_{kind}"


@FULL
def test_a_bomb_ends_at_the_limits_of_memory_and_of_time(monkeypatch):
    pytest.importorskip("mammoth")
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "_MEMORY_BYTES", 64 << 20)
        with pytest.raises(document.ReadError) as caught:
            read("docx", docx(paragraph("word " * 3_000_000)))
    assert caught.value.kind in ("too_large", "broken_docx")
    many = docx(paragraph("word") * 200_000)
    with pytest.raises(document.ReadError) as caught:
        sandbox.converted(io.BytesIO(many), "docx", path="f", timeout_secs=1)
    assert caught.value.kind in ("too_slow", "broken_docx")  # the kernel's limit, or ours


@FULL
def test_a_document_names_files_and_addresses_in_vain(tmp_path):
    """A picture that is linked, which would be read into the text, or fetched."""
    pytest.importorskip("mammoth")
    (tmp_path / "secret.png").write_text("secret")
    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    blip = f'<a:blip xmlns:a="{drawing}/main" r:link="p"/>'
    for kind in ("graphic", "graphicData", "pic:pic", "pic:blipFill"):
        name, prefix = (f"a:{kind}", "") if ":" not in kind else (kind, "")
        blip = f'<{name} xmlns:a="{drawing}/main" xmlns:pic="{drawing}/picture">{blip}</{name}>'
    body = f'<w:p><w:r><w:drawing><wp:inline xmlns:wp="{drawing}/wordprocessingDrawing">{blip}'
    body += "</wp:inline></w:drawing></w:r></w:p>" + paragraph("text")
    for target in (f"file://{tmp_path}/secret.png", "http://127.0.0.1:9/a.png"):
        rels = f'<Relationships xmlns="{RELATED}"><Relationship Id="p" Type="{OFFICE}/image" '
        rels += f'Target="{target}" TargetMode="External"/></Relationships>'
        (found,) = read("docx", docx(body, **{"word/_rels/document.xml.rels": rels}))
        assert found.text == "text"


@pytest.mark.parametrize(
    "attempt",
    [
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('socket').getaddrinfo('localhost', 9)",
        "__import__('subprocess').run(['true'])",
        "__import__('os').system('true')",
        "__import__('os').fork()",
        "open('written', 'w')",
        "__import__('os').open('written', 65)",
        "__import__('os').remove('kept')",
    ],
)
def test_a_converter_may_not(tmp_path, attempt):
    """What no library can undo: an audit hook."""
    (tmp_path / "kept").write_text("")
    code = "import runpy, sys; m = runpy.run_path(sys.argv[1]); sys.addaudithook(m['_guard'])\n"
    code += f"open('kept').read()\ntry: {attempt}\nexcept PermissionError: print('denied')"
    program = [sys.executable, "-c", code, worker.__file__]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("denied\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_without_the_extra_a_document_says_what_would_read_it(monkeypatch):
    monkeypatch.setattr(sandbox.importlib.util, "find_spec", lambda name: None)
    for kind in ("docx", "pdf", "pptx"):
        with pytest.raises(errors.MissingExtra, match="pip install -r requirements-office.txt"):
            read(kind, b"x")
