"""Marks of code: set aside and back, folded around, put into rows."""

from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.readers import marks

PIECES = st.lists(
    st.tuples(st.booleans(), st.text("ab \n\ufdd0\ufdd1\ufddf\ufde0", max_size=8)), max_size=6
)


def _marked(pieces):
    return "".join(marks.code(text) if is_code else text for is_code, text in pieces)


@given(pieces=PIECES)
def test_what_is_set_aside_comes_back(pieces):
    clean = [(is_code, "".join(c for c in text if c < "\ufdd0")) for is_code, text in pieces]
    marked = _marked(clean)
    assert marks.restored(*marks.set_aside(marked)) == marks.unmarked(marked)
    assert marks.unmarked(marked) == "".join(text for _, text in clean)


@given(pieces=PIECES)
def test_marks_that_a_file_holds_itself_do_no_harm(pieces):
    text, aside = marks.set_aside(_marked(pieces))
    found = marks.restored(text, aside)
    assert "\ufdd0" not in found and "\ufdd1" not in found


def test_folding_and_rows_leave_code_alone():
    code = marks.code("x =\n    1")
    assert marks.unmarked(marks.folded(f" a \n b {code}  c ")) == "a b x =\n    1 c"
    assert marks.unmarked(marks.row(["a  b", f"see {code} so", marks.code("y  z")])) == (
        "a b | see\nx =\n    1\nso | y  z"
    )
