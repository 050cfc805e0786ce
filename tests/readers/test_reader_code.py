# ruff: noqa: E501 (golden texts stand as they are)
"""Javadoc, Go and HTML: formats of documentation inside or beside code."""

import pytest

from data_pipeline.readers.code_docs import godoc, javadoc
from data_pipeline.readers.markup import html

JAVA = """/*
 * Copyright (c) Oracle. All rights reserved.
 */
package java.util;

/**
 * A list of {@code Map<K, List<V>>} and {@code a{b}c}, see {@link #get(int) the getter}.
 * Mail to x@example.com stays.
 *
 * <pre>{@code
 *   for (int i = 0; i < n; i++) {
 *       @Override run();
 *   }
 * }</pre>
 *
 * @param <T> the type
 * @author Nobody
 * @since 1.2
 */
@SuppressWarnings("x")
public final class Thing<T> extends Base {
    String notAComment = "/** no */";

    /** Returns one.
     * @return the {@linkplain Thing one}
     * @throws IllegalStateException if there is none */
    public T get(int index) throws IllegalStateException { return null; }
}
"""


def test_javadoc_stands_at_its_declaration():
    assert javadoc.convert(JAVA) == (
        "package java.util\n\npublic final class Thing<T> extends Base\n\n"
        "    A list of Map<K, List<V>> and a{b}c, see the getter. Mail to x@example.com stays.\n\n"
        "      for (int i = 0; i < n; i++) {\n          @Override run();\n      }\n\n"
        "    Parameter <T>: the type\n\n    Since: 1.2\n\n"
        "public T get(int index) throws IllegalStateException\n\n"
        "    Returns one.\n\n    Returns: the one\n\n    Throws IllegalStateException: if there is none"
    )


def test_javadoc_link_targets_may_have_spaces():
    raw = "/** Calls {@link #apply(long, long)}, {@link Map#get(Object, int) the\n * getter} and {@link a.B}. */\nvoid f();"
    assert javadoc.convert(raw) == "void f()\n\n    Calls apply(long, long), the getter and a.B."


GO = """// Copyright 2009 The Go Authors. All rights reserved.

/*
Package fmt prints.

	verbs := 1
*/
package fmt

// Get has a receiver.
//
//	x := y.Get()
func (y *Y) Get() int {
\t// inner, not documentation
\treturn 1
}

//go:noinline
func bare() {}

// Limits of things.
const (
\tA = 1
)
"""


def test_java_snippets_keep_their_lines_and_annotations_their_strings():
    raw = """/** Use it:
     * {@snippet lang="java" :
     * if (a < b) {
     *     f();  // @highlight
     * }
     * }
     * {@snippet file="A.java" region="x"}
     */
    @Deprecated(since = "9)", forRemoval = (1 > 0))
    void f();"""
    assert javadoc.convert(raw) == (
        "void f()\n\n    Use it:\n\n    if (a < b) {\n        f();  // @highlight\n    }"
    )


def test_go_methods_and_block_comments_stay_licences_go():
    assert godoc.convert(GO) == (
        "package fmt\n    Package fmt prints.\n\n    \tverbs := 1\n\n"
        "func (y *Y) Get() int\n    Get has a receiver.\n\n    \tx := y.Get()\n\n"
        "const\n    Limits of things."
    )


@pytest.mark.parametrize(
    "line",
    [
        "\tcase '`':",
        '\tx := "a ` b"',
        "\tx := 1 // a ` tick",
        "\tx := '\\'' + `y` + '`'",
        '\tx := `raw\n"text` + "`"',
    ],
)
def test_go_literals_with_a_backtick_open_no_raw_string(line):
    raw = f"package p\n\nfunc a() {{\n{line}\n}}\n\n// B is documented.\nfunc B() {{}}\n"
    assert godoc.convert(raw) == "func B() {}\n    B is documented."


def test_go_documentation_in_raw_strings_is_no_documentation():
    raw = "var x = `\n// C is text.\nfunc C() {}\n`\n\n// D is documented.\nfunc D()\n"
    assert godoc.convert(raw) == "func D()\n    D is documented."


def test_go_members_stand_in_structs_interfaces_and_groups_only():
    raw = (
        "type S[T any] struct { // open\n\t// F counts.\n\tF int\n}\n\nfunc a() {\n"
        "\t// inner\n\tFoo.Bar(1)\n}\n\nvar (\n\t// V varies.\n\tV = 1\n)\n"
    )
    assert godoc.convert(raw) == "F int\n    F counts.\n\nV = 1\n    V varies."


def test_void_elements_do_not_swallow_the_page():
    raw = '<body><nav><input><br><img src="x">menu</nav><p>Text <b>one</b>.<p>Two<form><input></form></body>'
    assert html.convert(raw) == "Text one.\n\nTwo"


@pytest.mark.parametrize("name", ["heading", "shadow", "download", "address-footer-note"])
def test_class_names_are_whole_words(name):
    assert html.convert(f'<div class="{name}">Kept</div>') == "Kept"
    assert html.convert('<div class="x sidebar">Gone</div><p>Kept') == "Kept"


def test_classes_that_a_source_skips():
    raw = '<div class="contents"><p>1 Introduction</div><p>Text<a class="copiable-link"> \u00b6</a>'
    assert html.convert(raw, skip=("contents", "copiable-link")) == "Text"
    assert html.convert(raw) == "1 Introduction\n\nText \u00b6"


def test_blocks_lists_tables_and_code():
    raw = (
        "<h1>T</h1><ul><li>a<li>b</ul><pre>  x\n    y</pre>"
        "<table><tr><th>A<th>B<tr><td>1<td><p>2</p></table>a &lt; b<script>no()</script>"
    )
    assert html.convert(raw) == "T\n\n- a\n- b\n\n  x\n    y\n\nA | B\n1 | 2\n\na < b"


def test_html_superscripts_keep_their_meaning():
    assert html.convert("<p>10<sup>6</sup> bytes</p>") == "10^6 bytes"


def test_html_scripts_are_skipped_at_any_depth():
    raw = "<div>" * 150 + "<script>x()</script><nav><b>menu</b></nav>text" + "</div>" * 150
    assert html.convert(raw) == "text"


def test_an_empty_html_item_leaves_no_bullet():
    assert html.convert("<ul><li>a</li><li></li></ul><p>Text</p>") == "- a\n\nText"
