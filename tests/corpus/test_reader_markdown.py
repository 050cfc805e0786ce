# ruff: noqa: E501 (golden texts stand as they are)
import io

from data_pipeline.corpus import markdown


def test_code_keeps_every_character():
    text = "Use `my_var_name` and `__init__` and `2*3*4`.\n\n```python\ndef f():\n        return 1\n\n\n    # end\n```\n"
    assert markdown.convert(text) == (
        "Use my_var_name and __init__ and 2*3*4.\n\ndef f():\n        return 1\n\n\n    # end"
    )


def test_identifiers_outside_of_code_keep_their_underscores():
    assert markdown.convert("Call get_user_name or snake_case_name.") == (
        "Call get_user_name or snake_case_name."
    )


def test_indented_code_of_many_lines_is_one_block():
    assert markdown.convert("Text:\n\n    a\n      b\n\n    c\n\nMore.") == (
        "Text:\n\na\n  b\n\nc\n\nMore."
    )


def test_fence_without_end_is_closed_by_the_document():
    assert markdown.convert("A\n\n```\ncode_here\n  more") == "A\n\ncode_here\n  more"


def test_front_matter_goes_and_its_title_stays_once():
    raw = '---\ntitle: "The `<title>` element"\nslug: x/y\n---\n\nBody text.\n'
    assert markdown.convert(raw) == "The <title> element\n\nBody text."
    assert markdown.convert("---\ntitle: A\n---\n# B\n\nBody.") == "B\n\nBody."


def test_a_rule_at_the_top_is_no_front_matter():
    assert markdown.convert("---\n\nHello there.\n\n---\n\nEnd.") == "Hello there.\n\nEnd."


def test_links_images_and_emphasis_become_their_text():
    raw = "See [the *guide*](https://x.y/z_a_b) and ![a diagram](d.png), **really**.<br>Next <b>line</b>"
    assert markdown.convert(raw) == "See the guide and a diagram, really.\nNext line"


def test_lists_nest_and_stay_together():
    raw = "Steps:\n\n1. First\n2. Second\n   - inner\n   - other\n\n   ```\n   x = 1\n   ```\n"
    assert markdown.convert(raw) == (
        "Steps:\n\n1. First\n2. Second\n   - inner\n   - other\n\n   x = 1"
    )


def test_tables_are_rows():
    raw = "| Name | Use |\n|---|---|\n| `a_b` | one |\n| c | two |\n"
    assert markdown.convert(raw) == "Name | Use\na_b | one\nc | two"


def test_mdn_macros_show_their_text():
    raw = (
        'The {{HTTPHeader("X-Frame-Options")}} header, {{jsxref("Array.prototype.map", "map()")}},'
        ' {{HTMLElement("div")}}, {{Glossary("CSP")}} and {{domxref("a_b_c")}} {{optional_inline}}.\n\n{{Compat}}\n\n'
        '`{{jsxref("kept")}}`'
    )
    assert markdown.convert(raw, macros=True) == (
        'The X-Frame-Options header, map(), <div>, CSP and a_b_c (optional).\n\n{{jsxref("kept")}}'
    )
    assert "{{ user }}" in markdown.convert("Hello {{ user }}", macros=False)


def test_anchors_and_check_boxes_go():
    raw = "# Input {#input-validation .list}\n\nUse `{#x}` or {#y}\n\n- [ ]   Do it\n- [x] Done\n- [y] z\n"
    assert markdown.convert(raw) == "Input\n\nUse {#x} or {#y}\n\n- Do it\n- Done\n- [y] z"


def test_book_includes_leave_no_directive():
    assert markdown.convert("```rust\n{{#rustdoc_include ../a.rs:here}}\nlet x = 1;\n```") == (
        "let x = 1;"
    )


def test_comments_and_markup_blocks_go_and_their_words_stay():
    raw = '<!-- not\nshown -->\n<div class="note">\nRead this &amp; that.\n</div>\n'
    assert markdown.convert(raw) == "Read this & that."


def test_read_gives_one_document():
    (found,) = markdown.read(io.BytesIO(b"# T\n\nx"), path="a/b.md")
    assert (found.id, found.text) == ("a/b.md", "T\n\nx")
