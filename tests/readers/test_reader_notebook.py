"""Notebooks: prose and code in the cells' order, output counted."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account, marks, notebook

PAGE = {
    "nbformat": 4,
    "metadata": {"kernelspec": {"language": "python"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Loss `L`\n", "\n", "See [this](http://a.b)."]},
        {
            "cell_type": "code",
            "source": ["def f(x):\n", "\n", "    return x  # *not* markup\n"],
            "outputs": [
                {"output_type": "stream", "text": ["0.1\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}},
                {"output_type": "execute_result", "data": {"text/plain": "7 rows"}},
            ],
        },
        {"cell_type": "raw", "source": "as it stands\n"},
        {"cell_type": "code", "source": "", "outputs": []},
    ],
}
TEXT = "Loss L\n\nSee this.\n\ndef f(x):\n\n    return x  # *not* markup\n\nas it stands"


def read(page, counted=account.NONE):
    return list(notebook.read(io.BytesIO(json.dumps(page).encode()), path="f", account=counted))


def test_cells_in_their_order():
    counted = account.Words()
    (found,) = read(PAGE, counted)
    assert (marks.unmarked(found.text), found.title) == (TEXT, "Loss L")
    assert marks.code("def f(x):\n\n    return x  # *not* markup") in found.text
    assert counted.reasons["outputs"] == 4 and counted.total["unaccounted"] == 0


OUTPUTS = [
    ({"text": ["printed ", "twice"]}, 2),
    ({"data": {"text/plain": "one form", "text/html": "<b>one form</b>"}}, 2),
    ({"data": {"text/markdown": ["**two words**"], "image/png": "iVBORw0KGgo="}}, 2),
    ({"data": {"text/latex": "$three$"}}, 1),
    ({"data": {"application/json": {"key": ["value"]}}}, 2),
    ({"data": {"image/svg+xml": "<svg/>", "image/png": "iVBORw0KGgo="}}, 0),
    ({"ename": "ValueError", "evalue": "bad", "traceback": ["\x1b[31mlast call\x1b[0m"]}, 2),
    ({"ename": "ValueError", "evalue": "bad", "traceback": []}, 2),
    ({"output_type": "pyout", "html": ["<b>old</b>"], "png": "iVBORw0KGgo="}, 1),
    ({"text": 1, "data": [1]}, 0),
]


@pytest.mark.parametrize(("output", "number"), OUTPUTS)
def test_each_output_is_counted_once_in_whatever_form(output, number):
    told = []
    counted = account.Words(lambda kind, text: told.append(text))
    read({"cells": [{"cell_type": "code", "source": "x", "outputs": [output]}]}, counted)
    assert counted.reasons.get("outputs", 0) == number and not counted.total["unaccounted"]
    assert counted.total["in"] == 1 + counted.reasons.total() and "" not in told


def test_the_older_format():
    cells = [{"cell_type": "heading", "level": 1, "source": "A"}]
    cells += [{"cell_type": "code", "input": "x = 1"}]
    (found,) = read({"nbformat": 3, "worksheets": [{"cells": cells}]})
    assert (marks.unmarked(found.text), found.title) == ("A\n\nx = 1", "A")


@pytest.mark.parametrize("page", [[], {}, {"cells": 1}, {"cells": [1]}, {"worksheets": [1]}, "x"])
def test_json_that_is_no_notebook(page):
    with pytest.raises(document.ReadError) as caught:
        read(page)
    assert caught.value.kind == "json_broken"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_code_is_kept_to_the_character(cells):
    cells = [cell.replace("\r", "").replace("\0", "") for cell in cells]
    cells = [marks.unmarked(cell.encode("utf-8", "ignore").decode()) for cell in cells]
    found = read({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})
    wanted = "\n\n".join(cell.strip("\n") for cell in cells if cell.strip())
    assert [marks.unmarked(each.text) for each in found] == ([wanted] if wanted else [])
