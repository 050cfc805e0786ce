# ruff: noqa: E501 (golden texts stand as they are)
import collections
import io
from pathlib import Path

import pytest

from data_pipeline import document
from data_pipeline.corpus import registry
from data_pipeline.readers import account, marks
from data_pipeline.readers.markup import markdown


def _shown(reader, raw, **options):
    """The text as it leaves cleaning, without the marks of code."""
    return marks.unmarked(reader.convert(raw, **options))


def test_code_keeps_every_character():
    text = "Use `my_var_name` and `__init__` and `2*3*4`.\n\n```python\ndef f():\n        return 1\n\n\n    # end\n```\n"
    assert _shown(markdown, text) == (
        "Use my_var_name and __init__ and 2*3*4.\n\ndef f():\n        return 1\n\n\n    # end"
    )


def test_identifiers_outside_of_code_keep_their_underscores():
    assert _shown(markdown, "Call get_user_name or snake_case_name.") == (
        "Call get_user_name or snake_case_name."
    )


def test_indented_code_of_many_lines_is_one_block():
    assert _shown(markdown, "Text:\n\n    a\n      b\n\n    c\n\nMore.") == (
        "Text:\n\na\n  b\n\nc\n\nMore."
    )


def test_fence_without_end_is_closed_by_the_document():
    assert _shown(markdown, "A\n\n```\ncode_here\n  more") == "A\n\ncode_here\n  more"


def test_front_matter_goes_and_its_title_stays_once():
    raw = '---\ntitle: "The `<title>` element"\nslug: x/y\n---\n\nBody text.\n'
    assert _shown(markdown, raw) == "The <title> element\n\nBody text."
    assert _shown(markdown, "---\ntitle: A\n---\n# B\n\nBody.") == "B\n\nBody."


def test_a_rule_at_the_top_is_no_front_matter():
    assert _shown(markdown, "---\n\nHello there.\n\n---\n\nEnd.") == "Hello there.\n\nEnd."


def test_links_images_and_emphasis_become_their_text():
    raw = "See [the *guide*](https://x.y/z_a_b) and ![a diagram](d.png), **really**.<br>Next <b>line</b>"
    assert _shown(markdown, raw) == "See the guide and a diagram, really.\nNext line"


def test_lists_nest_and_stay_together():
    raw = "Steps:\n\n1. First\n2. Second\n   - inner\n   - other\n\n   ```\n   x = 1\n   ```\n"
    assert _shown(markdown, raw) == (
        "Steps:\n\n1. First\n2. Second\n   - inner\n   - other\n\n   x = 1"
    )


def test_tables_are_rows():
    raw = "| Name | Use |\n|---|---|\n| `a_b` | one |\n| c | two |\n"
    assert _shown(markdown, raw) == "Name | Use\na_b | one\nc | two"


def test_mdn_macros_show_their_text():
    raw = (
        'The {{HTTPHeader("X-Frame-Options")}} header, {{jsxref("Array.prototype.map", "map()")}},'
        ' {{HTMLElement("div")}}, {{Glossary("CSP")}} and {{domxref("a_b_c")}} {{optional_inline}}.\n\n{{Compat}}\n\n'
        '`{{jsxref("kept")}}`'
    )
    assert _shown(markdown, raw, macros=True) == (
        'The X-Frame-Options header, map(), <div>, CSP and a_b_c (optional).\n\n{{jsxref("kept")}}'
    )
    assert "{{ user }}" in _shown(markdown, "Hello {{ user }}", macros=False)


def test_anchors_and_check_boxes_go():
    raw = "# Input {#input-validation .list}\n\nUse `{#x}` or {#y}\n\n- [ ]   Do it\n- [x] Done\n- [y] z\n"
    assert _shown(markdown, raw) == "Input\n\nUse {#x} or {#y}\n\n- Do it\n- Done\n- [y] z"


def test_directives_of_other_languages_are_code():
    code = "{{#each items}}\n  {{#if x}}\n  {{name}}\n  {{/if}}\n{{/each}}"
    assert _shown(markdown, f"```hbs\n{code}\n```") == code


@pytest.mark.parametrize("depth", [30, 99])
def test_deep_nesting_is_read(depth):
    assert _shown(markdown, "> " * depth + "x") == "x"
    stairs = "\n".join("  " * n + f"- l{n}" for n in range(min(depth, 49)))
    assert _shown(markdown, stairs).count("- l") == min(depth, 49)


@pytest.mark.parametrize("raw", [b"> " * 100 + b"x", b"- " * 50 + b"x"])
def test_what_is_nested_too_deeply_is_named(raw):
    with pytest.raises(document.ReadError, match=r"f.md: nested") as caught:
        list(markdown.read(io.BytesIO(raw), path="f.md"))
    assert caught.value.kind == "too_deep"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("---\n\nA paragraph: with colon\n\n---\n\nAfter", "A paragraph: with colon\n\nAfter"),
        ("---\ntitle: A\n...\n\nText\n\n---\n\nAfter", "A\n\nText\n\nAfter"),
        ("---\ntitle: >-\n  A long\n  title\nslug: x\n---\nText", "A long title\n\nText"),
        ("---\n# x\nslug: y\ntitle: 'A'\n---\nText", "A\n\nText"),
        ("+++\ntitle = 'A b'\ntags = [\"x\"]\n+++\nText", "A b\n\nText"),
        ("+++\nText", "+++\nText"),
        ("~~old~~ new, a ~ b ~~ c", "old new, a ~ b ~~ c"),
        ("<style>\np { color: red }\n\na {}\n</style>\n\nText", "Text"),
        ("<script>\nlet a = 1;\n</script>\n\nText", "Text"),
        ("<pre>\n  a &lt; <b>b</b>\n\n    c\n</pre>\n\nText", "  a < b\n\n    c\n\nText"),
        (
            "<table>\n<tr><td>a</td><td>b</td></tr><tr>\n<th>c</th>\n<th>d</th>\n</tr>\n</table>",
            "a | b\nc | d",
        ),
        ("10<sup>6</sup>, the 2<sup>nd</sup>, x<sup>[1]</sup><sup>", "10^6, the 2nd, x"),
        ("Text[^1] and [a].\n\n[^1]: Word\n\n[a]: b", "Text and a.\n\nWord"),
    ],
)
def test_text_around_front_matter_markup_blocks_and_notes(raw, shown):
    assert _shown(markdown, raw) == shown


NOTES = """# A title[^t]

One [^1], two[^two] [link](x) and `[^1]`; [^unknown] and [^a-z].[^1]
- an item[^two]

[^1]: The *first* note
goes on.
[^two]: The second one.

    Its paragraph.

    ```
    code  [^1]
    ```
[^t]:
    - of the title
Still the item.

Below.

    [^1]: code

[^a-z]: a pattern, not a note.[^deep]

[^deep]: [^1]: inner
"""
NOTES_SHOWN = """A title

One, two link and [^1]; [^unknown] and.

- an item

The first note
goes on.

The second one.

Its paragraph.

code  [^1]

- of the title
  Still the item.

Below.

[^1]: code

a pattern, not a note.

: inner"""


def test_marks_of_notes_go_and_their_text_stays():
    told = collections.Counter()
    text = markdown.convert(NOTES, left_out=lambda kind, text: told.update([(kind, text)]))
    assert marks.unmarked(text) == NOTES_SHOWN
    assert not {kind for kind, _ in told} - {"note_marks"}
    assert told["note_marks", "two"] == 3 and told["note_marks", "t"] == 2


def test_what_no_page_refers_to_is_no_note():
    raw = "[^abc]: any letter but these\n\nand [^0-9] no digit"
    assert _shown(markdown, raw) == raw


def test_notes_stand_as_they_are_for_a_source_whose_rule_takes_them_out():
    raw = b"Text[^1] and\n\n[^1]: a note\n"
    (found,) = markdown.read(io.BytesIO(raw), path="f", notes=False)
    assert found.text == raw.decode().strip()
    sources = registry.load(Path(registry.__file__).with_name("phase2_domain.json"))
    with_rule = [each for each in sources if "law_markdown" in each.boilerplate]
    assert with_rule and all(each.options["notes"] is False for each in with_rule)


def test_words_of_a_page_with_notes_are_accounted_for():
    counted = account.Words()
    list(markdown.read(io.BytesIO(NOTES.encode()), path="f", account=counted))
    assert counted.total["unaccounted"] == 0 and counted.reasons["note_marks"] >= 8


def test_comments_and_markup_blocks_go_and_their_words_stay():
    raw = '<!-- not\nshown -->\n<div class="note">\nRead this &amp; that.\n</div>\n'
    assert _shown(markdown, raw) == "Read this & that."


def test_a_comment_ends_at_its_first_end():
    raw = "to <!--- hin ---> very <!-->soft<!--->ware <!-- a -- b -->is -> so <!-- c\n\nand --> d"
    assert _shown(markdown, raw) == "to  very software is -> so <!-- c\n\nand --> d"


def test_read_gives_one_document():
    (found,) = markdown.read(io.BytesIO(b"# T\n\nx"), path="a/b.md")
    assert (found.id, found.text) == ("a/b.md", "T\n\nx")
