"""The main content of a page of any layout: what says that it is, without menus."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.readers import account, marks
from data_pipeline.readers.markup import html

STORY = "<h1>Heading</h1><p>" + "A sentence of the story. " * 20 + "</p><pre>x  = 1</pre>"
TEXT = "Heading\n\n" + ("A sentence of the story. " * 20).strip() + "\n\nx  = 1"
MENU = "<ul>" + "".join(f'<li><a href="/{n}">Place {n}</a></li>\n' for n in range(6)) + "</ul>"
PAGE = (
    "<html><head><title>T</title><script>no()</script></head><body>"
    '<div class="x">Login <a href="/">Home</a> <b>Offer</b></div>{}<div>Copyright</div></body>'
)


def read(page, **options):
    """Returns (the text without marks, its title, words by reason)."""
    counted = account.Words()
    options = {"main_content": True} | options
    stream = io.BytesIO(page.encode())
    (found,) = html.read(stream, path="f", account=counted, **options)
    assert counted.total["unaccounted"] == 0
    return marks.unmarked(found.text), found.title, counted.reasons


@pytest.mark.parametrize(
    "main",
    [
        "<main>{}</main>",
        "<div ROLE='main' class='toc'>{}</div>",
        "<article>{}</article>",
        "<div><div><section><main id=a>{}</main></section></div></div>",
        "<main><article>{}</article></main>",
    ],
)
def test_what_says_that_it_is_the_main_element_is_taken(main):
    text, title, reasons = read(PAGE.format(main.format(STORY)))
    assert (text, title) == (TEXT, "T")
    assert reasons["outside_main"] == 4 and reasons["head"] == 2  # the title and the script


@pytest.mark.parametrize(
    "page",
    [
        "{}",
        "<article>{}</article><article>other</article>",  # two, so that neither is the page's
        "<main></main>{}",  # filled by a script
        "<!-- <main> -->{}",
    ],
)
def test_else_the_whole_page_is(page):
    text, _, reasons = read(PAGE.format(page.format(STORY)))
    assert TEXT in text and "Copyright" in text and not reasons["outside_main"]


def test_menus_are_left_out_and_lists_of_sentences_with_links_are_not():
    sentences = "".join(f"<li>Read <a href=/>this</a> because of {n}.</li>" for n in range(6))
    text, _, reasons = read(f"{MENU}<p>one</p>{MENU}<ul>{sentences}</ul><ul><li><a>two</a></ul>")
    assert text.startswith("one\n\n- Read this because of 0.\n") and text.endswith("\n\n- two")
    assert "Place" not in text and reasons["menu"] == 24
    assert "Place 5" in read(f"<p>one</p>{MENU}", main_content=False)[0]


@given(
    st.lists(st.sampled_from("<main> </main> <nav> </nav> <ul> <li> <a> </a> </ul> word".split()))
)
@settings(max_examples=150, deadline=None)
def test_any_nesting_accounts_for_its_words(parts):
    counted = account.Words()
    page = " ".join(f"{part} w{number}" for number, part in enumerate(parts))
    list(html.read(io.BytesIO(page.encode()), path="f", main_content=True, account=counted))
    assert counted.total["unaccounted"] == 0
    assert counted.total["in"] + counted.total["added"] == counted.total["out"] + sum(
        counted.reasons.values()
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a<br><br>b<br>\n<br/> c<br>d<br><br>", "a\n\nb\n\nc\nd"),
        ("<ul><li>a<br><br>b<li>c</ul>", "- a\n\n  b\n- c"),
        ("<table><tr><td>a<br><br>b<td>c</table>", "a b | c"),
        ("<pre>a<br><br>b</pre>", "a\n\nb"),
        ("Donau&shy;dampf\u00ad<b>schiff</b>", "Donaudampfschiff"),
        ("<code>a&shy;b</code>", "a\u00adb"),
    ],
)
def test_breaks_part_paragraphs_and_soft_hyphens_no_words(raw, text):
    counted = account.Words()
    (found,) = html.read(io.BytesIO(raw.encode()), path="a", account=counted)
    assert marks.unmarked(found.text) == text
    assert counted.total["unaccounted"] == 0
