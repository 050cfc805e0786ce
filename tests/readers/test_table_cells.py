# ruff: noqa: E501 (golden texts stand as they are)
"""Code in a cell of a table: in its place, line for line."""

import io

import pytest

from data_pipeline.readers import account, marks
from data_pipeline.readers.code_docs import javadoc
from data_pipeline.readers.markup import html, markdown, rst

PRE = "<table><tr><th>Name</th><th>Code</th></tr><tr><td>foo</td><td>See <pre>if a:\n\n    b()</pre> here</td><td>end</td></tr></table><p>After"
ROWS = "Name | Code\nfoo | See\nif a:\n\n    b()\nhere | end\n\nAfter"
CASES = {
    "html": (html.convert, PRE, ROWS),
    "markdown_block": (markdown.convert, PRE.replace("\n\n", "\n").replace("<p>", "\n\n"), ROWS.replace("\n\n    b", "\n    b")),
    "markdown_pipes": (
        markdown.convert,
        "| Name | Code |\n|---|---|\n| foo | See <pre>if a:<br>    b()</pre> here |\n| bar | `x  y` |\n",
        "Name | Code\nfoo | See\nif a:\n    b()\nhere\nbar | x  y",
    ),
    "rest_grid": (
        rst.convert,
        "+------+-------------+\n| foo  | See::       |\n|      |             |\n|      |   if a:     |\n|      |       b()   |\n+------+-------------+\n",
        "foo | See:\nif a:\n    b()",
    ),
    "rest_list": (
        rst.convert,
        ".. list-table::\n\n   * - foo\n     - .. code-block:: python\n\n          if a:\n              b()\n     - end\n",
        "foo |\nif a:\n    b()\n| end",
    ),
    "javadoc": (
        javadoc.convert,
        "/** <table><tr><td>foo</td><td><pre>{@code\n * if (a)\n *     b();\n * }</pre></td><td>end</td></tr></table> */\nvoid f();",
        "void f()\n\n    foo |\n    if (a)\n        b();\n    | end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_code_stays_in_its_cell(name):
    convert, raw, shown = CASES[name]
    assert marks.unmarked(convert(raw)) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        # A table in a cell: the cells before it, its rows, the cells behind it.
        ("<table><tr><td>A<td>x<table><tr><td>in<td>ner</table>y<td>B</tr></table>after", "A | x\n\nin | ner\n\ny\n\nB\n\nafter"),
        # Rows and ends that are not written.
        ("<table><td>a<td>b</table>", "a | b"),
        ("<table><tr><td>a<td>b", "a | b"),
        ("<td>a<td>b", "a\n\nb"),
        ("<table><tr><td><ul><li>a<li>b</ul></td><td>c</td></tr></table><ul><li>d</ul>", "a b | c\n\n- d"),
    ],
)  # fmt: skip
def test_no_cell_is_lost_or_joined(raw, shown):
    assert html.convert(raw) == shown


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ("| `a|b` | c |", "a|b | c"),
        ("| `` a|` `` | `b|c` | d |", "a|` | b|c | d"),
        ("| x | y | z |", "x | y | z"),
        ("x | y | z", "x | y | z"),
        (r"| `a\|b` | c \| d | e |", "a|b | c | d | e"),
        ("| `a | b | c` |", "`a | b | c`"),
        ("| a ` | b ` | c ` d |", "a | b | c ` d"),
        ("| x |", "x | "),
        ("|| y |", " | y"),
    ],
)  # fmt: skip
def test_rows_with_more_cells_than_the_heading_keep_them(row, shown):
    counted = account.Words()
    raw = f"> | H | I |\n> |---|---|\n> {row}\n> | k | l |\n\nAfter\n"
    (found,) = markdown.read(io.BytesIO(raw.encode()), path="f", account=counted)
    text = marks.unmarked(found.text)
    assert text.split("\n") == ["H | I", shown, "k | l", "", "After"]
    assert counted.total["unaccounted"] == 0
