# ruff: noqa: E501 (golden texts stand as they are)
"""Javadoc, Go and HTML: formats of documentation inside or beside code."""

import pytest

from data_pipeline.readers import marks
from data_pipeline.readers.code_docs import godoc, javadoc
from data_pipeline.readers.markup import html


def _shown(reader, raw, **options):
    """The text as it leaves cleaning, without the marks of code."""
    return marks.unmarked(reader.convert(raw, **options))


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
    assert _shown(javadoc, JAVA) == (
        "package java.util\n\npublic final class Thing<T> extends Base\n\n"
        "    A list of Map<K, List<V>> and a{b}c, see the getter. Mail to x@example.com stays.\n\n"
        "      for (int i = 0; i < n; i++) {\n          @Override run();\n      }\n\n"
        "    Parameter <T>: the type\n\n    Since: 1.2\n\n"
        "public T get(int index) throws IllegalStateException\n\n"
        "    Returns one.\n\n    Returns: the one\n\n    Throws IllegalStateException: if there is none"
    )


def test_javadoc_link_targets_may_have_spaces():
    raw = "/** Calls {@link #apply(long, long)}, {@link Map#get(Object, int) the\n * getter} and {@link a.B}. */\nvoid f();"
    assert _shown(javadoc, raw) == "void f()\n\n    Calls apply(long, long), the getter and a.B."


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
     * Not {@code null}.
     */
    @Deprecated(since = "9)", forRemoval = (1 > 0))
    void f();"""
    assert _shown(javadoc, raw) == (
        "void f()\n\n    Use it:\n\n    if (a < b) {\n        f();  // @highlight\n    }\n\n    Not null."
    )


MARKDOWN_JAVA = """package a.b;

/// Returns a *list* of `Map<K, V>`, see [List], [the getter][Map#get(Object)] and
/// [java.util.Set#of()]; {@code a<b} and a [link](http://x.y).
///
/// - one
///   - two
///
/// ```java
/// @Override
/// void run() { a[0] = b[i]; }
/// ```
///
/// @param n the _number_
/// @return `null` or
///   more
@Deprecated
public List<String> names(int n) {
    /// no documentation
    return find(n);
}

/// A constant.
static final int X = 1;

//// A ruler
interface Y {}
"""


def test_java_comments_in_markdown():
    assert _shown(javadoc, MARKDOWN_JAVA) == (
        "package a.b\n\npublic List<String> names(int n)\n\n"
        "    Returns a list of Map<K, V>, see List, the getter and\n    java.util.Set.of(); a<b and a link.\n\n"
        "    - one\n      - two\n\n    @Override\n    void run() { a[0] = b[i]; }\n\n"
        "    Parameter n: the number\n\n    Returns: null or\n    more\n\n"
        "static final int X\n\n    A constant."
    )


def test_java_says_what_is_thrown_and_shows_tags_that_it_does_not_know():
    raw = "/** See {@extLink guide the Guide} in {@docRoot}/x, {@jls 4.2 Types}.\n * @throws F {@inheritDoc} */\nvoid f();"
    assert _shown(javadoc, raw) == (
        "void f()\n\n    See the Guide in /x, 4.2 Types.\n\n    Throws F"
    )


def test_go_methods_and_block_comments_stay_licences_go():
    assert _shown(godoc, GO) == (
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
    assert _shown(godoc, raw) == "func B() {}\n    B is documented."


def test_go_documentation_in_raw_strings_is_no_documentation():
    raw = "var x = `\n// C is text.\nfunc C() {}\n`\n\n// D is documented.\nfunc D()\n"
    assert _shown(godoc, raw) == "func D()\n    D is documented."


def test_go_members_stand_in_structs_interfaces_and_groups_only():
    raw = (
        "type S[T any] struct { // open\n\t// F counts.\n\tF int\n}\n\nfunc a() {\n"
        "\t// inner\n\tFoo.Bar(1)\n}\n\nvar (\n\t// V varies.\n\tV = 1\n)\n"
    )
    assert _shown(godoc, raw) == "F int\n    F counts.\n\nV = 1\n    V varies."


def test_void_elements_do_not_swallow_the_page():
    raw = '<body><nav><input><br><img src="x">menu</nav><p>Text <b>one</b>.<p>Two<form><input></form></body>'
    assert _shown(html, raw) == "Text one.\n\nTwo"


@pytest.mark.parametrize("name", ["heading", "shadow", "download", "address-footer-note"])
def test_class_names_are_whole_words(name):
    assert _shown(html, f'<div class="{name}">Kept</div>') == "Kept"
    assert _shown(html, '<div class="x navbar">Gone</div><p>Kept') == "Kept"


def test_classes_that_a_source_skips():
    raw = '<div class="contents"><p>1 Introduction</div><p>Text<a class="copiable-link"> \u00b6</a>'
    assert _shown(html, raw, skip=("contents", "copiable-link")) == "Text"
    assert _shown(html, raw) == "1 Introduction\n\nText \u00b6"


def test_blocks_lists_tables_and_code():
    raw = (
        "<h1>T</h1><ul><li>a<li>b</ul><pre>  x\n    y</pre>"
        "<table><tr><th>A<th>B<tr><td>1<td><p>2</p></table>a &lt; b<script>no()</script>"
    )
    assert _shown(html, raw) == "T\n\n- a\n- b\n\n  x\n    y\n\nA | B\n1 | 2\n\na < b"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("<ol><li>a<li>b<ul><li>c<li>d</ul><li>e</ol>", "1. a\n2. b\n   - c\n   - d\n3. e"),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a\n7. b\n8. c"),
        ("<ol type=a><li>x<li>y</ol><ol type=I><li>x<li>y<li>z<li>v</ol>", "a. x\nb. y\n\nI. x\nII. y\nIII. z\nIV. v"),
        ("<ol><li><p>a<p>b<li><pre>x\n  y</pre></ol>z", "1. a\n\n   b\n2. x\n     y\n\nz"),
    ],
)  # fmt: skip
def test_numbers_of_html_lists(raw, shown):
    assert _shown(html, raw) == shown


def test_html_boxes_of_text_stay_and_boxes_of_links_go():
    raw = (
        '<div class="sidebar"><p>A word</p></div><aside class="footnote brackets">1 A note</aside>'
        '<aside id="nav">Index</aside><aside class="topic"><p>Abstract</aside>'
    )
    assert _shown(html, raw) == "A word\n\n1 A note\n\nAbstract"


def test_an_html_title_stands_above_a_page_that_has_no_heading():
    head = "<head><title>A &amp; B</title><style>x</style></head>"
    assert _shown(html, f"{head}<body><p>Text") == "A & B\n\nText"
    assert _shown(html, f"{head}<body><h1>C</h1><p>Text") == "C\n\nText"


def test_html_images_show_their_alternative():
    assert _shown(html, '<p>A <img src=x alt="b &lt; c"> d<img src=y alt=""></p>') == "A b < c d"


def test_what_html_leaves_out_is_told_by_element_class_and_role():
    told = []
    raw = (
        '<nav>menu</nav><p>Text</p><div class="toc x">1 A</div><p role="search">find</p>'
        "<script>no()</script><button>Go</button>"
    )
    assert html.convert(raw, left_out=lambda *what: told.append(what)) == "Text"
    assert told == [
        ("nav", "menu"),
        ("toc", "1 A"),
        ("search", "find"),
        ("script", "no()"),
        ("button", "Go"),
    ]


def test_html_scripts_are_skipped_at_any_depth():
    raw = "<div>" * 150 + "<script>x()</script><nav><b>menu</b></nav>text" + "</div>" * 150
    assert _shown(html, raw) == "text"


def test_an_empty_html_item_leaves_no_bullet():
    assert _shown(html, "<ul><li>a</li><li></li></ul><p>Text</p>") == "- a\n\nText"
