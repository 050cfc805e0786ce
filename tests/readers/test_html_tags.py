"""Tags of HTML: what one pattern finds in regular pages is what html.parser finds."""

import html.parser
import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipeline.readers.markup import html as reader
from data_pipeline.readers.markup import html_tags

WANTED = frozenset({"class", "alt"})
_VALUES = ["", "=x", '="a b"', "='&amp;>'", '="&lt"', "=a/b", "=a/", " = 'q'", '=""', "=&quot;"]
_ATTRIBUTES = [
    f"{space}{name}{value}"
    for space in (" ", "\n\t", "")
    for name in ("class", "ALT", "data-x", "@on", "x:y")
    for value in _VALUES
]
_NAMES = "p B br my-tag script title textarea style iframe xmp svg:g 1".split()
_TEXTS = [
    *("a", " ", "\n", "&amp;", "&lt", "&#65;", "&", "&am", "<", "< ", "<3", ">", '"', "'", "/"),
    *("<!-- c -->", "<!-- <p> -->", "<!-->", "<!--->", "<!-- a -- b -->", "<!-- a --!>", "<!--"),
    *(
        "<!DOCTYPE html>",
        '<!doctype x "y">',
        "<?xml v?>",
        "<![CDATA[x]]>",
        "<!x>",
        "<?",
        "</",
        "</>",
    ),
    *("\0", "\xa0", "\u2028", "<p", "</p", "</p x>", "<p/x>", "<script>a<b</b></script>"),
    *("<iframe></iframe>", "<xmp>a</XMP >", "<xmp>&amp;</xmp>", "<noembed><p></noembed>"),
    *("<script><!-- <script> </script>", "<style>&lt;</STYLE >", "<title>a&amp;b</title>"),
]
_TAGS = st.builds(
    "<{}{}{}{}>".format,
    st.sampled_from(["", "", "/"]),
    st.sampled_from(_NAMES),
    st.lists(st.sampled_from(_ATTRIBUTES), max_size=2).map("".join),
    st.sampled_from(["", " ", "/", " /"]),
)
PAGES = st.lists(st.sampled_from(_TEXTS) | _TAGS, max_size=12).map("".join)


class Heard:
    def __init__(self):
        super().__init__()
        self.told = []

    def handle_starttag(self, tag, attrs):
        self.told.append(("start", tag, [one for one in attrs if one[0] in WANTED]))

    def handle_startendtag(self, tag, attrs):
        self.told.append(("whole", tag, [one for one in attrs if one[0] in WANTED]))

    def handle_endtag(self, tag):
        self.told.append(("end", tag))

    def handle_data(self, data):
        self.told.append(("data", data))

    def joined(self):
        """What was told, neighbouring texts as one."""
        for kind, group in itertools.groupby(self.told, key=lambda one: one[0]):
            group = list(group)
            yield from [("data", "".join(one[1] for one in group))] if kind == "data" else group


class Standard(Heard, html.parser.HTMLParser):
    pass


@settings(max_examples=300, deadline=None)
@example("<a class=x/>")
@example("<p class=a&amp;b>")
@example("<title>a<b>c</title>")
@example("<br class/>x</br>")
@given(PAGES)
def test_a_page_is_told_as_the_standard_library_tells_it(page):
    ours, theirs = Heard(), Standard()
    if html_tags.walk(page, ours, wanted=WANTED):
        theirs.feed(page)
        theirs.close()
        assert list(ours.joined()) == list(theirs.joined())


@pytest.mark.parametrize(
    "page",
    [
        '<!DOCTYPE html><html lang=en><head><title>A &amp; b</title><meta charset="utf-8"/>',
        "<script src=x></script><script>if (a<b) '</p>'</script><style>p > a {}</style>",
        '<P CLASS="a b" hidden>if a < b && c</P >\n<!-- a - b <p> --><br/>',
        "<img alt='\"' src=/x/y.png><td rowspan = 2>",
        '<a href="?a=1&b=2" class=q>x</a><?php x ?>text &eacute; at the end',
        '<iframe class="toc" src="toc.html"></iframe><noframes>no</noframes>',
        "text without a tag",
        "",
    ],
)
def test_pages_as_most_are_need_no_other_parser(page):
    assert html_tags.walk(page, Heard(), wanted=WANTED)


@settings(max_examples=200, deadline=None)
@given(PAGES)
def test_both_ways_give_one_text(page):
    def told(*, walks):
        with pytest.MonkeyPatch.context() as patch:
            if not walks:
                patch.setattr(html_tags, "walk", lambda *args, **how: False)
            left_out = []
            text = reader.convert(page, left_out=lambda *one: left_out.append(one))
            return text, left_out

    assert told(walks=True) == told(walks=False)


def test_long_pages_take_no_longer_by_the_character():
    """Nothing of the pattern is quadratic, and no run overflows it."""
    for part in ("<", "<!--", "<p ", "<p a='", "&", "<p class=", "</", "<script>", "-", "<p a=b/"):
        html_tags.walk(part * 200_000, Heard(), wanted=WANTED)
        html_tags.walk("<p>" + part * 200_000 + "-->'>", Heard(), wanted=WANTED)
