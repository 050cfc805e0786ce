"""What counts of a text does not depend on how it is set."""

import re
import textwrap
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.similarity import letters

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)
# Alphabets whose upper and lower case are one-to-one, beside those without case.
WORDS = st.text(
    "abcdefghijklmnoprstuvwzäöüßéñçåøłžабвгдеαβγδεω0123456789中文かなカ한국ไทย", min_size=1
)
TEXTS = st.lists(WORDS, min_size=1, max_size=40).map(" ".join)
NOT_LETTERS = st.text(
    " \n\t>*_`#|~-–—.,;:!?()[]{}<>/\\'\"„“«»’…\u00ad\u200b\u00a0\u0301", max_size=5
)


def folded(text: str) -> str:
    return "".join(map(chr, letters.of(text)[0].tolist()))


@EXAMPLES
@given(TEXTS)
def test_case_and_composition_do_not_count(text):
    wanted = folded(text)
    for other in (text.upper(), text.lower(), text.casefold(), text.title()):
        assert folded(other) == wanted
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text)) == wanted


@EXAMPLES
@given(TEXTS, st.data())
def test_what_stands_between_letters_does_not_count(text, data):
    between = data.draw(st.lists(NOT_LETTERS, min_size=len(text), max_size=len(text)))
    # Not into a word's own marks: the alphabets have none, each character stands alone.
    assert folded("".join(a + b for a, b in zip(text, between, strict=True))) == folded(text)


@EXAMPLES
@given(TEXTS, st.integers(20, 70))
def test_wrapping_quoting_and_hyphenation_do_not_count(text, columns):
    wanted = folded(text)
    lines = textwrap.wrap(text, columns)
    assert folded("\n".join(lines)) == wanted
    assert folded("".join(f"> {line}\n" for line in lines)) == wanted
    assert folded(re.sub(r"(\w\w)(\w\w)", "\\1-\n    \\2", text)) == wanted


@EXAMPLES
@given(st.text(), st.text())
def test_each_character_counts_for_itself(left, right):
    found, places = letters.of(left + right)
    assert found.tolist() == letters.of(left)[0].tolist() + letters.of(right)[0].tolist()
    assert len(found) == len(places) and (np.diff(places) >= 0).all()
    for number in np.unique(places).tolist():
        own = letters.of((left + right)[number])[0]
        assert found[places == number].tolist() == own.tolist()


def test_known_characters():
    assert folded("Straße STRASSE, naïve naïve") == "strassestrassenaivenaive"
    assert folded("ﬁnd ½ ™ m² １２ ٣") == "find12tmm2123"
    assert folded("中文 カな") == "中中中文文文カカなな"
    assert folded("한") == unicodedata.normalize("NFD", "한")
    assert folded("\ud800 \ue000 \U0001f600") == ""


def test_long_texts_are_folded_in_blocks():
    text = "Ab, ß" * 50_000
    found, places = letters.of(text)
    one, at = letters.of("Ab, ß")
    assert np.array_equal(found, np.tile(one, 50_000))
    assert np.array_equal(places, (np.arange(50_000)[:, None] * 5 + at).ravel())
