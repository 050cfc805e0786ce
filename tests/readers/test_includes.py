# ruff: noqa: E501 (golden texts stand as they are)
"""Files that pages take in: mdBook's, reST's and the kernel's directives, below the root only."""

import os

import pytest

from data_pipeline.readers import account, includes, marks
from data_pipeline.readers import table as readers
from data_pipeline.readers.code_docs import kerneldoc
from data_pipeline.readers.markup import rst, rst_include

MAIN = """// ANCHOR: all
use std::io;

// ANCHOR: io
fn main() {
    // ANCHOR: print
    println!("Guess!");
    // ANCHOR_END: print
}
// ANCHOR_END: io
// ANCHOR_END: all
"""


@pytest.fixture
def root(tmp_path):
    """A source with pages in src/ and listings beside it, and a secret outside of it."""
    (tmp_path / "secret.rs").write_text("secret")
    root = tmp_path / "source"
    (root / "src" / "part").mkdir(parents=True)
    (root / "listings").mkdir()
    (root / "listings" / "main.rs").write_text(MAIN)
    (root / "listings" / "out.txt").write_text("one\ntwo\nthree\nfour\n")
    (root / "listings" / "link.rs").symlink_to(tmp_path / "secret.rs")
    (root / "above").symlink_to(tmp_path)
    return root


def _read(root, reader, raw, name, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(raw)
    told = []
    found = list(
        readers.documents(
            reader,
            path,
            name=name,
            max_bytes=1 << 20,
            options=options,
            includes=includes.Includes(root, name, is_document=lambda each: each == "src/own.rst"),
            account=account.Words(
                lambda kind, text: told.append(
                    (kind.removeprefix("left_out/"), text.strip().split("\n")[0])
                )
            ),
        )
    )
    told = [each for each in told if each[0] != "unaccounted"]
    return "\n".join(marks.unmarked(each.text) for each in found), told


@pytest.mark.parametrize(
    ("directive", "shown"),
    [
        (
            "{{#rustdoc_include ../listings/main.rs:all}}",
            'use std::io;\n\nfn main() {\n    println!("Guess!");\n}',
        ),
        ("{{#include ../listings/main.rs:print}}", '    println!("Guess!");'),
        ("{{#include ../listings/out.txt}}", "one\ntwo\nthree\nfour"),
        ("{{#include ../listings/out.txt:2}}", "two"),
        ("{{#include ../listings/out.txt:2:3}}", "two\nthree"),
        ("{{#include ../listings/out.txt:3:}}", "three\nfour"),
        ("{{#include ../listings/out.txt::2}}", "one\ntwo"),
        ("\\{{#include ../listings/out.txt}}", "{{#include ../listings/out.txt}}"),
    ],
)
def test_listings_of_a_book(root, directive, shown):
    raw = f"# T\n\n```rust\n{directive}\n```\n"
    assert _read(root, "markdown", raw, "src/a.md", mdbook=True) == (f"T\n\n{shown}", [])


def test_a_listing_s_file_and_caption_are_text(root):
    raw = (
        'Text.\n\n<Listing number="2-1" file-name="src/main.rs" caption="Code that\ngets a `Vec<T>`">\n\n'
        "```rust\n{{#include ../listings/out.txt:1}}\n```\n\n</Listing>\n\nMore.\n"
    )
    assert _read(root, "markdown", raw, "src/a.md", mdbook=True)[0] == (
        "Text.\n\nFilename: src/main.rs\n\none\n\nListing 2-1: Code that gets a Vec<T>\n\nMore."
    )


def test_files_in_braces_are_shown_as_code(root):
    (root / "src" / "run.sh").write_text("run |\n\n  tee ```` out\n")
    raw = "T\n\n{{ run.sh # ../listings/out.txt }}\n\n{{ gone.kt }}\n\nSee {{ run.sh }}.\n"
    text, told = _read(root, "markdown", raw, "src/a.md", snippets=True)
    lines = (root / "listings" / "out.txt").read_text().rstrip()
    assert text == f"T\n\nrun |\n\n  tee ```` out\n\n{lines}\n\nSee {{{{ run.sh }}}}."
    assert told == [("include_missing", "gone.kt")]


def test_a_chapter_takes_in_another_whose_listings_are_beside_it(root):
    (root / "src" / "part" / "b.md").write_text(
        "Part.\n\n```\n{{#include ../../listings/out.txt:4}}\n```\n"
    )
    raw = "A.\n\n{{#include part/b.md}}\n\n- x\n\n  ```\n  {{#include ../listings/out.txt:1:2}}\n  ```\n"
    assert _read(root, "markdown", raw, "src/a.md", mdbook=True) == (
        "A.\n\nPart.\n\nfour\n\n- x\n\n  one\n  two",
        [],
    )
    (root / "src" / "c.md").write_text("again {{#include c.md}}")
    text, told = _read(root, "markdown", "{{#include c.md}}", "src/d.md", mdbook=True)
    assert text.count("again") == includes.MAX_DEPTH and told[0][0] == "include_refused"


OUTSIDE = [
    ("../../secret.rs", "include_refused"),
    ("../../../../../../etc/hostname", "include_refused"),
    ("../above/secret.rs", "include_refused"),
    ("../listings/link.rs", "include_refused"),
    ("../listings", "include_refused"),
    ("/etc/hostname", "include_missing"),
    ("../listings/absent.rs", "include_missing"),
]


@pytest.mark.parametrize(("target", "kind"), OUTSIDE)
def test_nothing_outside_of_the_root_is_read(root, target, kind):
    directive = "{{#include " + target + "}}"
    found = _read(root, "markdown", f"A\n\n{directive}\n\nB\n", "src/a.md", mdbook=True)
    assert found == ("A\n\nB", [(kind, directive)])
    directive = f".. literalinclude:: {target}"
    assert _read(root, "rest", f"A\n\n{directive}\n\nB\n", "src/a.rst") == (
        "A\n\nB",
        [(kind, directive)],
    )


def test_what_is_no_file_or_too_large_is_left_out(root):
    os.mkfifo(root / "src" / "pipe")
    (root / "src" / "large").write_bytes(b"x" * (includes.MAX_FILE_BYTES + 1))
    (root / "src" / "binary").write_bytes(b"\0\1")
    (root / "src" / "own.rst").write_text("own")
    raw = "".join(f".. include:: {name}\n\n" for name in ("pipe", "large", "binary", "own.rst"))
    _, told = _read(root, "rest", f"A\n\n{raw}", "src/a.rst")
    assert [kind for kind, _ in told] == [
        "include_refused", "include_too_large", "include_undecodable", "include_of_document",
    ]  # fmt: skip


def test_files_of_rest(root):
    (root / "src" / "mod.py").write_text(
        "import x\n\n\nclass A:\n    def f(self):\n        return 1\n\n\ndef g():\n    pass\n"
    )
    (root / "src" / "part" / "p.txt").write_text(
        "Head\n====\n\nSome *text* here.\n\n.. literalinclude:: ../../listings/out.txt\n   :lines: 1,3-\n\n.. cut\n\nNot this.\n"
    )
    (root / "src" / "t.csv").write_text("a,b\n1,2\n")
    raw = """Title
=====

.. literalinclude:: mod.py
   :pyobject: A.f
   :dedent:
   :caption: The method

.. literalinclude:: /src/mod.py
   :start-after: import x
   :end-before: def g

.. include:: part/p.txt
   :end-before: .. cut

.. include:: part/p.txt
   :end-before: .. cut

.. include:: ../listings/out.txt
   :literal:
   :start-line: 3

.. csv-table::
   :file: t.csv

.. include:: <isonum.txt>

|copy| us
"""
    text, told = _read(root, "rest", raw, "src/a.rst")
    assert text == (
        "Title\n\nThe method\n\ndef f(self):\n    return 1\n\nclass A:\n    def f(self):\n        return 1\n\n"
        "Head\n\nSome text here.\n\none\nthree\nfour\n\nfour\n\na | b\n1 | 2\n\n\u00a9 us"
    )
    assert told == [("include_repeated", ".. include:: part/p.txt")]


@pytest.mark.parametrize("name", ["A.", "A.x", "x"])
def test_an_object_that_a_file_has_not_takes_in_all_of_it(root, name):
    (root / "src" / "mod.py").write_text('class A:\n    """Text."""\n\n    x = 1\n')
    text, told = _read(
        root, "rest", f".. literalinclude:: mod.py\n   :pyobject: {name}\n", "src/a.rst"
    )
    assert text == 'class A:\n    """Text."""\n\n    x = 1' and told == []


KERNEL = """
/**
 * DOC: Overview
 *
 * Talks of %CONST.
 */

/**
 * foo_get() - Get a foo
 *             from &struct bar.
 * @dev: the device, see @flags
 * @flags: flags
 *
 * Longer text.
 *
 * Return: 0 or -%EINVAL.
 */
int foo_get(struct device *dev,
\t    unsigned long flags)
{
}
EXPORT_SYMBOL_GPL(foo_get);

/**
 * struct bar - a bar
 * @a: first
 */
struct bar {
\tint a;
\t/** @b: second */
\tint b;
};
"""
OVERVIEW = "Overview\n\nTalks of CONST."
FUNCTION = (
    "int foo_get(struct device *dev, unsigned long flags)\n\n    Get a foo from struct bar.\n\n    dev\n        the device, see flags\n\n"
    "    flags\n        flags\n\n    Longer text.\n\n    Return: 0 or -EINVAL."
)
STRUCT = "struct bar\n\n    a bar\n\n    a\n        first\n\n    b\n        second"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", f"{OVERVIEW}\n\n{FUNCTION}\n\n{STRUCT}"),
        ("   :doc: Overview\n", OVERVIEW),
        ("   :export:\n", FUNCTION),
        ("   :internal:\n", STRUCT),
        ("   :functions: foo_get\n", FUNCTION),
        ("   :identifiers: bar\n", STRUCT),
        ("   :identifiers:\n   :no-identifiers: foo_get\n", STRUCT),
    ],
)
def test_kernel_doc_comments(root, options, shown):
    (root / "lib").mkdir()
    (root / "lib" / "foo.c").write_text(KERNEL)
    raw = f".. kernel-doc:: lib/foo.c\n{options}\nEnd.\n"
    assert _read(root, "rest", raw, "Documentation/core/a.rst") == (f"{shown}\n\nEnd.", [])


def test_kernel_doc_of_no_comment_gives_nothing():
    assert kerneldoc.rest("/** */ /** x", {}) == ""
    assert "void x(void)" in kerneldoc.rest("/**\n * x - y\n */\nvoid x(void);", {})


def test_what_is_made_by_programs_or_drawn_is_counted():
    told = []
    raw = (
        ".. automodule:: a\n   :members:\n\n.. raw:: html\n\n   <b>x</b>\n\n.. graphviz::\n\n   digraph {}\n\n"
        ".. testsetup::\n\n   import re\n\n.. doctest::\n   :hide:\n\n   >>> 1\n\n"
        ".. kernel-figure:: a.svg\n   :alt: The alternative\n\n   And a caption\n\n.. code-block:: c\n   :caption: Its title\n\n   x\n"
    )
    included = rst_include.Included(includes.NOTHING, lambda kind, text: told.append(kind))
    text = rst.convert(raw, included=included)
    assert marks.unmarked(text) == "The alternative\n\nAnd a caption\n\nIts title\n\nx"
    assert told == ["generated", "raw", "drawing", "hidden", "hidden"]
