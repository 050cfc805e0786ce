"""EPUB: the pages of a book in its order; archives that are none, locked or a bomb."""

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account, marks
from data_pipeline.readers.office import epub

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/b.opf"/></rootfiles></container>'
OPF = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title> The
Book </dc:title></metadata>
<manifest>{}<item id="nav" properties="nav" href="nav.xhtml" media-type="application/xhtml+xml"/>
</manifest><spine><itemref idref="nav"/><itemref idref="gone"/>{}</spine></package>"""


def book(pages, **others):
    """The bytes of a book with these pages, named below OEBPS, in this order."""
    items = "".join(
        f'<item id="p{n}" href="{name}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(pages)
    )
    spine = "".join(f'<itemref idref="p{n}"/>' for n in range(len(pages)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/b.opf", OPF.format(items, spine))
        archive.writestr("OEBPS/nav.xhtml", "<p>contents")
        for name, text in pages.items():
            archive.writestr(f"OEBPS/{name.replace('%20', ' ')}", text)
        for name, text in others.items():
            archive.writestr(name, text)
    return stream.getvalue()


def read(data, counted=account.NONE):
    return list(epub.read(io.BytesIO(data), path="b.epub", account=counted))


def test_pages_in_the_order_of_the_spine():
    pages = {
        "z%20.xhtml": "<html><head><title>The Book</title></head><body><h1>One</h1><p>first</p>",
        "a/b.xhtml": "<nav>menu</nav><p>second<pre>x  = 1</pre>",
    }
    counted = account.Words()
    (found,) = read(book(pages), counted)
    assert marks.unmarked(found.text) == "One\n\nfirst\n\nsecond\n\nx  = 1"
    assert (found.title, found.path) == ("The Book", "b.epub")
    assert counted.reasons["nav"] == 1 and counted.total["unaccounted"] == 0
    assert counted.notes == {"missing_page": 1}
    assert read(book({})) == []


def test_pages_that_are_missing_or_no_html_are_counted():
    data = book({"a.xhtml": "<p>one", "b.xhtml": "<p>two"})
    renamed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(renamed, "w") as new:
        for name in old.namelist():
            text = old.read(name).replace(
                b'"a.xhtml" media-type="application/xhtml+xml"',
                b'"a.xhtml" media-type="image/svg+xml"',
            )
            new.writestr(name.replace("b.xhtml", "B.xhtml"), text)
    counted = account.Words()
    assert read(renamed.getvalue(), counted) == []
    assert counted.notes == {"missing_page": 2, "page_no_html": 1}


def test_a_page_in_the_encoding_that_it_names():
    page = '<?xml version="1.0" encoding="windows-1251"?><html><body><p>Съешь же ещё'
    (found,) = read(book({"a.xhtml": page.encode("cp1251")}))
    assert found.text == "Съешь же ещё"


LOCKED = (
    "<encryption><EncryptedData><CipherData><CipherReference URI='OEBPS/a.xhtml'/></CipherData>"
    "</EncryptedData></encryption>"
)
NO_BOOK = {
    "broken_epub": [b"", b"PK\x03\x04", book({"a": "x"})[:200], b"x" * 99],
    "encrypted_epub": [book({"a.xhtml": "?"}, **{"META-INF/encryption.xml": LOCKED})],
    "xml_dtd": [
        book({}, **{"META-INF/encryption.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'})
    ],
}


@pytest.mark.parametrize("kind", NO_BOOK)
def test_what_is_no_open_book(kind):
    for data in NO_BOOK[kind]:
        with pytest.raises(document.ReadError) as caught:
            read(data)
        assert caught.value.kind == kind


def test_fonts_may_be_locked():
    locked = LOCKED.replace("a.xhtml", "font.otf")
    assert read(book({"a.xhtml": "<p>x"}, **{"META-INF/encryption.xml": locked}))[0].text == "x"


def test_a_bomb_ends_at_the_limit(monkeypatch):
    for name, value in (("MAX_TEXT_BYTES", 100_000), ("html.MAX_CHARS", 100_000)):
        with monkeypatch.context() as patch:
            patch.setattr(f"data_pipeline.readers.office.epub.{name}", value)
            with pytest.raises(document.ReadError) as caught:
                read(book({"a.xhtml": "x" * 5_000_000}))
            assert caught.value.kind == "too_large"


# Words stand apart: two that a tag joins can make one that the page has elsewhere.
PARTS = st.sampled_from([*"<p> <b> </b> <nav> </nav> &amp; <!--x-->".split(), " ", "a ", "bc "])


@given(st.lists(st.lists(PARTS).map("".join), max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_word_of_any_pages_is_accounted_for(texts):
    counted = account.Words()
    found = read(book({f"{n}.xhtml": text for n, text in enumerate(texts)}), counted)
    assert counted.total["unaccounted"] == 0
    assert counted.total["out"] == sum(account.count(each.text) for each in found)
