# ruff: noqa: E501 (golden texts stand as they are)
import pytest

from data_pipeline import document
from data_pipeline.readers import marks
from data_pipeline.readers.markup import rst


def _shown(reader, raw, **options):
    """The text as it leaves cleaning, without the marks of code."""
    return marks.unmarked(reader.convert(raw, **options))


def test_nothing_below_a_described_object_is_lost():
    raw = """
.. module:: thing
   :synopsis: dropped

.. class:: Pool(size, *, \\
                 name=None)
           Pool(other)

   Makes a pool.

   .. method:: Pool.map(func)

      Maps *func*.

      .. versionadded:: 3.2
         With workers.

.. py:function:: left(raw)

   Not raw any more.
"""
    assert _shown(rst, raw) == (
        "Pool(size, *, name=None)\nPool(other)\n\n    Makes a pool.\n\n    Pool.map(func)\n\n"
        "        Maps func.\n\n        Added in version 3.2: With workers.\n\n"
        "left(raw)\n\n    Not raw any more."
    )


def test_notes_are_prose_not_code():
    assert _shown(rst, ".. note:: Mind *this*.\n\n   And that.") == (
        "Note: Mind this.\n\nAnd that."
    )
    assert _shown(rst, ".. warning::\n\n   Hot.") == "Warning: Hot."


def test_the_mark_of_a_note_goes_with_the_blank_before_it():
    raw = "Word [1]_, more [*]_\n[#a]_ and (see `x y` [2]_). [1]_ End\n[2]_\n\n.. [1] One."
    assert _shown(rst, raw).split("\n\n")[0] == "Word, more and (see x y). End"


def test_roles_show_their_text():
    raw = (
        "Use :func:`~os.path.join`, :c:func:`PyList_New`, :ref:`the guide <label>`, :pep:`8`, "
        ":class:`!Foo`, :rfc:`2616` and ``a_b``."
    )
    assert _shown(rst, raw) == ("Use join, PyList_New, the guide, PEP 8, Foo, RFC 2616 and a_b.")


def test_code_keeps_its_indentation():
    raw = "Example::\n\n   if x:\n           deep()\n\n   end\n\n.. code-block:: python\n   :linenos:\n\n   def f():\n       pass\n"
    assert _shown(rst, raw) == ("Example:\n\nif x:\n        deep()\n\nend\n\ndef f():\n    pass")


def test_flags_of_doctests_are_not_shown():
    raw = "A:\n\n>>> f()  # doctest: +SKIP\n1\n<BLANKLINE>\n2\n\nB::\n\n   # doctest: +SKIP\n   <BLANKLINE>\n"
    assert _shown(rst, raw) == "A:\n\n>>> f()\n1\n\n2\n\nB:\n\n# doctest: +SKIP\n<BLANKLINE>"


def test_pep_header_becomes_the_title():
    raw = "PEP: 8\nTitle: Style Guide for\n  Python Code\nAuthor: X <x@y.org>\nStatus: Active\n\n\nIntroduction\n============\n\nText.\n"
    assert _shown(rst, raw) == "PEP 8: Style Guide for Python Code\n\nIntroduction\n\nText."


def test_navigation_comments_and_targets_go():
    raw = ".. toctree::\n   a\n   b\n\n.. _label:\n\n.. a comment\n\n.. index:: x\n\nText [1]_ here.\n\n.. [1] A note.\n"
    assert _shown(rst, raw) == "Text here.\n\nA note."


def test_nothing_is_included_or_read_raw(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret text")
    raw = f"A\n\n.. include:: {secret}\n\n.. literalinclude:: {secret}\n\n.. csv-table::\n   :file: {secret}\n\n.. raw:: html\n   :file: {secret}\n"
    assert _shown(rst, raw) == "A"


def test_tables_lists_and_definitions():
    raw = "=====  =====\nA      B\n=====  =====\n1      2\n=====  =====\n\nterm\n    Meaning.\n\n* one\n* two\n\n:field: value\n"
    assert _shown(rst, raw) == (
        "A | B\n1 | 2\n\nterm\n    Meaning.\n\n- one\n- two\n\nfield: value"
    )


def test_tables_written_as_lists_and_values():
    raw = (
        ":orphan:\n\n.. flat-table:: Cards\n   :header-rows: 1\n\n   - - Number\n     - Name\n"
        "   - - 0\n     - :cspan:`1` A ``b``\n\n"
        '.. csv-table::\n   :header: "A", "B"\n\n   "x, y", ``z``\n\n'
        ".. list-table::\n\n   * - c\n     - d\n\n       e\n"
    )
    assert _shown(rst, raw) == ("Cards\n\nNumber | Name\n0 | A b\n\nA | B\nx, y | z\n\nc | d e")


def test_audit_events_are_a_sentence():
    raw = '.. audit-event:: poplib.connect self,host,port poplib.POP3\n\n.. audit-event:: os.fork "" os.fork\n\n.. audit-event:: a b x\n\n   All commands raise a.\n'
    assert _shown(rst, raw) == (
        "Raises an auditing event poplib.connect with arguments self, host, port.\n\n"
        "Raises an auditing event os.fork with no arguments.\n\nAll commands raise a."
    )


def test_stairs_of_indentation_are_refused():
    raw = "\n\n".join(" " * number + "x" for number in range(200))
    with pytest.raises(document.ReadError, match="indentations"):
        _shown(rst, raw)


@pytest.mark.parametrize(
    "raw",
    [
        "+---+---+\n| a | b |\n+---+--+\n| c | d |\n+---+---+",
        "==== ====\nlongcelltext\n==== ====",
        "=====\nOverlined and longer\n=======",
    ],
)
def test_what_does_not_parse_stands_as_it_is_written(raw):
    text = _shown(rst, f"Before.\n\n{raw}\n\nAfter.")
    assert text.startswith("Before.\n\n") and text.endswith("\n\nAfter.")
    assert all(line in text for line in raw.split("\n"))


def test_a_short_underline_does_not_show_its_title_twice():
    assert _shown(rst, "Title here\n=====\n\nText.") == "Title here\n\nText."


def test_substitutions_show_their_text_where_they_are_used():
    raw = (
        "Use |prod| |c| |logo| and |other|.\n\n.. |prod| replace:: The *Product*\n\n"
        ".. |c| unicode:: 0xA9 .. sign\n\n.. |logo| image:: a.png\n"
    )
    assert _shown(rst, raw) == "Use The Product \u00a9 |logo| and |other|."


def test_code_directly_below_its_directive():
    raw = ".. code-block:: python\n   def words():\n       pass\n\n   x = 1\n"
    assert _shown(rst, raw) == "def words():\n    pass\n\nx = 1"


def test_superscripts_keep_their_meaning():
    assert _shown(rst, "10\\ :sup:`6` bytes") == "10^6 bytes"


def test_a_line_that_docutils_does_not_read_is_an_error():
    with pytest.raises(document.ReadError) as caught:
        _shown(rst, "x " * 50_001)
    assert caught.value.kind == "rest_long_line"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        # What docutils itself loses: rows at the top whose first cell is blank.
        (
            "====  ========  =======\n      compact   extended\n      (v1)      (v2)\n====  ========  =======\nsize  32 bytes  64\n====  ========  =======\n",
            " | compact (v1) | extended (v2)\nsize | 32 bytes | 64",
        ),
        ("1. _`Preferred licenses`:\n\n   Text, see `Preferred licenses`_.\n", "1. Preferred licenses:\n\n   Text, see Preferred licenses."),
        ("a) one\nb) two\n\nText\n\niii. x\niv. y\n\nText\n\nC. z\n\nD. z\n", "a. one\nb. two\n\nText\n\niii. x\niv. y\n\nText\n\nC. z\nD. z"),
    ],
)  # fmt: skip
def test_no_row_target_or_letter_is_lost(raw, shown):
    assert _shown(rst, raw) == shown
