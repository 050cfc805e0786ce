# ruff: noqa: E501 (golden texts stand as they are)
import io

import pytest

from data_pipeline import document
from data_pipeline.readers.publications import rfc


def _page(number, body, header="RFC 9999               A Title               May 1999"):
    head = f"{header}\n\n\n" if number > 1 else ""
    return f"{head}{body}\n\n\n\nFielding, et al.            Standards Track                    [Page {number}]\n"


def test_headers_and_footers_of_every_form_go():
    first = _page(
        1,
        "1.  Introduction\n\n   The text of the first page ends in the middle of a long\n   sentence which goes on over the end of the page and then",
    )
    second = _page(2, "   continues here.\n\n   [Page layout] is a term, as is RFC 2119.")
    old = "\f".join([first, second, _page(3, "   Last.").replace("Fielding, et al.", "Postel")])
    assert rfc.convert(old) == (
        "1.  Introduction\n\n   The text of the first page ends in the middle of a long\n"
        "   sentence which goes on over the end of the page and then\n   continues here.\n\n"
        "   [Page layout] is a term, as is RFC 2119.\n\n   Last."
    )


def test_footers_of_even_pages_start_with_the_number():
    text = "   One.\n\n\n[page 2]                                              Postel\n\f\n   Two."
    assert rfc.convert(text) == "   One.\n\n   Two."


def test_art_keeps_its_spaces():
    art = "    0                   1\n    0 1 2 3 4 5 6 7 8 9 0\n   +-+-+-+-+-+-+-+-+-+-+-+"
    assert rfc.convert(art + "\n\n\n") == art


def test_unpaged_text_is_left_alone():
    text = "RFC 8650   YANG   November 2019\n\n1.  Introduction\n\n   RFC 8639 of 2019\n   says so."
    assert rfc.convert(text) == text


def test_footers_without_form_feeds_go_with_their_headers():
    text = "   One.\n\nPostel                         [Page 3]\n\nRFC 791     IP     September 1981\n\n   Two."
    assert rfc.convert(text) == "   One.\n\n   Two."


def test_a_page_has_one_number_and_its_table_keeps_its_own():
    table = "   Total\n\n   17\n\n   42"
    text = f"   One.\n\f{table}\n\n                  -2-\n\f   Three."
    assert rfc.convert(text) == f"   One.\n\n{table}\n\n   Three."


def test_a_number_that_opens_a_page_is_its_own():
    # RFC 817 numbers its pages at their heads; RFC 1000's tables go on over a page with a foot.
    text = "   One.\n\f                 2\n\n\n   Two.\n\f                 3\n\n\n   Three."
    assert rfc.convert(text) == "   One.\n\n   Two.\n\n   Three."
    table = "   One.\n\f                 17\n\n   42\n\nPostel       [Page 2]"
    assert rfc.convert(table) == "   One.\n\n                 17\n\n   42"


def test_every_word_above_and_below_a_page_is_told():
    # RFC 806: the text below the foot that goes is indented further than the foot is long.
    gone = []
    page = " " * 50 + "Section 1\n\n   Text.\n\n" + " " * 30 + "7"
    assert rfc.convert(f"   One.\n\f{page}", lambda kind, text: gone.append(text.strip())) == (
        "   One.\n\n" + page.rstrip(" 7\n")
    )
    assert gone == ["7"]


def test_the_padding_of_tapes_is_no_text():
    raw = b"Network Working Group\r\n\0\0\0\0RFC 752\r\n\0\0A Universal Host Table\r\n"
    (found,) = rfc.read(io.BytesIO(raw), path="rfc752.txt")
    assert found.text == "Network Working Group\nRFC 752\nA Universal Host Table"
    with pytest.raises(document.ReadError) as caught:
        list(rfc.read(io.BytesIO(b"\0\0\xff\xd8 a picture"), path="rfc1.txt"))
    assert caught.value.kind == "undecodable"
