"""What is written around the words of a text, and what only looks like it."""

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.similarity import dress


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a <b>c</b> <br/><!-- no --> <a href='x y'>d</a>", "a  c      d "),
        ("if a < b and c > d: 1<2>3", "if a < b and c > d: 1<2>3"),
        ("Gr&uuml;&szlig;e &amp; &#8364;&#x20ac; A&B;C &nothing;", "Grüße & €€ A&B;C &nothing;"),
        (r"eins\nzwei \u00e4\/", "eins zwei ä "),
        ("[word](https://x.org/a), [12], [abc] (x) f[1234]", "[word ,  , [abc] (x) f[1234]"),
        ("x\n 9: a\n10: b\n\n12 c\n13 d\n20 e", "x\na\nb\n\nc\nd\n20 e"),
    ],
)  # fmt: skip
def test_what_is_taken_off(text, left):
    assert dress.taken_off(text) == left


@given(st.text(alphabet="ab \u00e4\n1.;"))
def test_text_comes_out_of_html_and_json_as_it_was(text):
    plain = text.split()
    assert dress.taken_off(html.escape(f"<p>{text}</p>")).split() == f"<p>{text}</p>".split()
    shown = dress.taken_off(json.dumps(text)).strip('"').split()
    assert shown == plain


@pytest.mark.parametrize("piece", ["<", "&", "\\", "](", "[1", "<a", "\n1 ", "&#1", "<a <b"])
def test_long_texts_take_time_by_the_character(piece):
    assert isinstance(dress.taken_off(piece * 100_000), str)
