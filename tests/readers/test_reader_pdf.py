"""PDF: what of the pages' text stays, whatever converter gave it; test_office.py has real files."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account
from data_pipeline.readers.office import pdf, sandbox


@pytest.fixture
def read(monkeypatch):
    def read(*pages, title="", counted=account.NONE):
        found = [{"text": page or "", "is_scan": page is None} for page in pages]
        answer = {"pages": found, "title": title}
        monkeypatch.setattr(sandbox, "converted", lambda stream, kind, path: answer)
        return list(pdf.read(io.BytesIO(), path="f.pdf", account=counted))

    return read


def test_running_heads_and_page_numbers_go(read):
    pages = [f"A Book on {n}\r\n\r\nText of page {'i' * n}.\r\nPage {n} of 9" for n in range(1, 6)]
    counted = account.Words()
    (found,) = read(*pages, title=" A\r\nBook ", counted=counted)
    assert found.text == "\n\n".join(f"Text of page {'i' * n}." for n in range(1, 6))
    assert found.title == "A Book" and counted.reasons["running_heads"] == 40
    assert counted.total["unaccounted"] == 0


def test_heads_of_chapters_on_left_or_right_pages(read):
    def page(number):
        head = ("One" if number < 6 else "Two") if number % 2 else "The Book"
        return f"{head}\nunlike a{'x' * number}\n- {number} -"

    (found,) = read(*(page(number) for number in range(12)))
    assert found.text == "\n".join(f"unlike a{'x' * number}" for number in range(12))


def test_lines_that_few_pages_share_stay(read):
    (found,) = read("Example\none\n1", "Example\ntwo\n2", "three\n3", *["x\ny\nz"] * 2)
    assert found.text.count("Example") == 2 and "three" in found.text and "\n3" not in found.text
    assert read("1\ntext\n2")[0].text == "1\ntext\n2"  # of one page it cannot be told


def test_cut_words_are_put_together(read):
    text = "im\x02prove day-to\x02day well\x02known well-known PAR\x02TICULAR a\x02B x\x02"
    (found,) = read(f"{text} Donau\x02dampf\x02schiff")
    assert found.text == (
        "improve day-to-day well-known well-known PARTICULAR a-B x- Donaudampfschiff"
    )


def test_a_sentence_goes_on_over_the_page(read):
    (found,) = read("The end of\r\n", "a sentence.", "Another", "And \x01\x00one\ud800")
    assert found.text == "The end of\na sentence.\n\nAnother\n\nAnd one"


def test_scans_are_counted(read):
    counted = account.Words()
    (found,) = read("text", None, None, counted=counted)
    assert found.text == "text" and counted.notes == {"scanned_pages": 2}
    with pytest.raises(document.ReadError, match="2 pages without a text layer") as caught:
        read(None, None)
    assert caught.value.kind == "scanned"
    assert read("", " ") == []


@example(pages=["1b", "1b", "1b", "1\x02b"])  # a head's word, and the same one cut
@given(pages=st.lists(st.text("ab1-\x02\n ", max_size=40), max_size=8))
def test_every_word_is_kept_or_has_a_reason(pages):
    counted = account.Words()
    with pytest.MonkeyPatch.context() as patch:
        answer = {"pages": [{"text": page, "is_scan": False} for page in pages], "title": ""}
        patch.setattr(sandbox, "converted", lambda stream, kind, path: answer)
        found = list(pdf.read(io.BytesIO(), path="f", account=counted))
    assert counted.total["unaccounted"] == 0
    assert counted.total["out"] == sum(account.count(each.text) for each in found)
