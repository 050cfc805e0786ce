# ruff: noqa: E501 (golden texts stand as they are)
import bz2
import io
import time

import pytest

from data_pipeline import document
from data_pipeline.readers import account, marks
from data_pipeline.readers.wikipedia import mediawiki, wikitext

PAGE = """{{Infobox x|a=b}}
'''Alabama'''<ref name="a">A reference.</ref> is a [[U.S. state|state]]<ref name="a"/> in the [[South]].
[[File:Map.png|thumb|A [[map]] of it]]
At {{convert|30|km|mi}}, it ({{IPA|x}}) is &quot;big&quot;&mdash;{{lang|de|gro\u00df}}.
{| class="wikitable"
| cell || {| nested |}
|}
== History ==
* First
* Second <!-- hidden -->
:<math>x^2 + y_1</math>
<syntaxhighlight lang="python">
def f():
    return 1
</syntaxhighlight>
== Empty ==
{{Main|Y}}
== References ==
{{Reflist}}
* Some book
[[Category:States]]
"""


def _shown(raw):
    """The text as it leaves cleaning, without the marks of code."""
    return marks.unmarked(wikitext.clean(raw))


def test_article():
    assert _shown(PAGE) == (
        'Alabama is a state in the South.\n\nAt 30 km, it is "big"\u2014gro\u00df.\n\nHistory\n\n'
        "- First\n- Second\n\nx^2 + y_1\n\ndef f():\n    return 1"
    )


def test_unclosed_reference_does_not_swallow_the_article():
    assert wikitext.clean("One <ref>two three. Four.") == "One two three. Four."
    assert wikitext.clean("A <ref>lost <ref>gone</ref> B.") == "A lost B."


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        # Apostrophes by MediaWiki's rule: five are both marks, four one and bold.
        ("''Titanic'''s crew", "Titanic's crew"),
        ("'''''Both''''' and '''bold''' and ''it''", "Both and bold and it"),
        ("L'''amour'' and it's", "L'amour and it's"),
        ("''''bold'''", "'bold"),
        ("''Ring''<nowiki/>'s", "Ring's"),
        # Code, formulas and what is marked as no markup, to the character.
        ("A <nowiki>''[[x]]'' {{y}}</nowiki> b", "A ''[[x]]'' {{y}} b"),
        ("<math>f''(x) = 2^{2^{n}}, i < n</math>", "f''(x) = 2^{2^{n}}, i < n"),
        (
            '<syntaxhighlight lang="c">\n#include <stdio.h>\nvector<int> a;\nx = \'\';  // {{ [[ }}\n</syntaxhighlight>',
            "#include <stdio.h>\nvector<int> a;\nx = \'\';  // {{ [[ }}",
        ),
        ("<source lang=html><p class='a'>A</p><!-- b --></source>", "<p class='a'>A</p><!-- b -->"),
        ("<pre>\n  a &lt; b\n    <nowiki>''c''</nowiki></pre>", "  a < b\n    ''c''"),
        ("Call <code>main()</code> ({{IPA|x}}) or f().", "Call main() or f()."),
        ("A <math>open only", "A open only"),
        # A < that begins no tag of MediaWiki.
        ("If a<b and c>d then <stdio.h> or List<int> and <b>bold</b><br/>x", "If a<b and c>d then <stdio.h> or List<int> and bold\n\nx"),
        ("2<sup>n</sup>, x<sup>''n'' + 1</sup>, 10<sup>\u22126</sup>, the 19<sup>th</sup>", "2^n, x^(n + 1), 10^\u22126, the 19th"),
        # Headings above a heading of their own have a section; empty ones have none.
        ("== A ==\n=== B ===\nText.\n== C ==\n=== D ===\n== E ==\nMore.", "A\n\nB\n\nText.\n\nE\n\nMore."),
        ("[[de:Foo]]Text [[:de:Bar]], [[Star Trek: Picard]].", "Text de:Bar, Star Trek: Picard."),
        ("{{Quote|text=All of it.|author=X}}\n\n{{quote|1=a = b}}\n\n{{Zitat|Text=Ja.}}", "All of it.\n\na = b\n\nJa."),
        ("{{As of|2012}}, {{as of|2012|3|lc=y}}", "As of 2012, as of March 2012"),
        # Templates of numbers.
        ("{{formatnum:18}} and {{formatnum:{{nts|1234.5}}|R}}, {{nts|-7}}", "18 and 1234.5, -7"),
        ("{{val|6.241|0.002|e=18|u=C}}, {{val|9.8|(15)|ul=m|up=s}}, {{val|30000}}",
         "6.241 \u00b1 0.002 \u00d7 10^18 C, 9.8(15) m/s, 30000"),
        ("{{frac|3}}, {{frac|1|2}}, {{Frac|3|1|4}} in", "1/3, 1/2, 3 1/4 in"),
        ("{{US$|7.5}}, {{GBP|{{nts|5}}}}, {{EUR|1=3}}, {{H\u00f6he|1200|DE-NN|link=true}}", "US$7.5, \u00a35, \u20ac3, 1200 m"),
        ("{{color|red|rot}}, {{tooltip|a|b}}, {{interlanguage link|X|fr}}, {{url|http://x.org|here}}", "rot, a, X, here"),
        ('{{"|Zitat}}, {{radic|2}}, {{Polytonisch|\u03b1\u03b2}}', "\u201eZitat\u201c, \u221a2, \u03b1\u03b2"),
        ("{{circa|1900}}, {{c.|800|810}}", "c. 1900, c. 800 \u2013 c. 810"),
        ("({{lang-el|\u03bb}}) {{smaller|(b)}} {{hlist|[[A]]|B}}, {{lc:ABC}}", "(\u03bb) (b) A, B, abc"),
        # Lists nest, are numbered, and define.
        ("* a\n** b\n*** c\n* d", "- a\n  - b\n    - c\n- d"),
        ("# a\n## b\n#* c\n#: more\n# d\n\n# e", "1. a\n  1. b\n  - c\n  more\n2. d\n\n1. e"),
        ("; [[a:b|term]] : what it is\n: and more\n;other\n:This.\n\n:apart",
         "term\n    what it is\n    and more\n\nother\n    This.\n\napart"),
        ("[[ab:Xx]]Text [[zh-min-nan:X]] [[ceb:X]] [[nds-nl:X|y]] [[re:Invent]].", "Text re:Invent."),
    ],
)  # fmt: skip
def test_markup_goes_and_text_stays(raw, shown):
    assert _shown(raw) == shown


def test_unclosed_verbatim_elements_take_no_time():
    started = time.process_time()
    for piece in ("<math>", "<math></nowiki>", "<!--", "<pre><math>", "''", "'''a ", "<sup>"):
        wikitext.clean(piece * 20_000)
    assert time.process_time() - started < 10


def _dump(*pages):
    body = "".join(
        f"<page><title>{title}</title><ns>{ns}</ns><id>{number}</id>{extra}<revision><id>9{number}</id>"
        f"<text>{text}</text></revision></page>"
        for number, (title, ns, extra, text) in enumerate(pages)
    )
    return (
        f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{body}</mediawiki>'.encode()
    )


PAGES = (
    ("A", 0, "", "Text one."),
    ("B", 0, '<redirect title="A" />', "#REDIRECT [[A]]"),
    ("Talk:A", 1, "", "Chat."),
    ("C", 0, "", "Text &lt;b&gt;two&lt;/b&gt;."),
)


@pytest.mark.parametrize(
    "pack", [bytes, bz2.compress, lambda d: bz2.compress(d[:99]) + bz2.compress(d[99:])]
)
def test_dump_gives_articles_only(pack):
    found = list(mediawiki.read(io.BytesIO(pack(_dump(*PAGES))), path="d.xml"))
    assert [(d.id, d.text) for d in found] == [
        ("d.xml#0", "A\n\nText one."),
        ("d.xml#3", "C\n\nText two."),
    ]


def test_truncated_dump_is_named_after_its_whole_pages():
    data = bz2.compress(_dump(*PAGES, *(("X", 0, "", "y " * 50_000),) * 20))
    found = []
    with pytest.raises(document.ReadError) as caught:
        for each in mediawiki.read(io.BytesIO(data[: len(data) - 20]), path="d"):
            found.append(each)
    assert caught.value.kind in ("truncated", "xml_broken")


def test_dtd_is_refused():
    bomb = b'<!DOCTYPE m [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><mediawiki>&b;</mediawiki>'
    with pytest.raises(document.ReadError) as caught:
        list(mediawiki.read(io.BytesIO(bomb), path="d"))
    assert caught.value.kind == "xml_dtd"


def test_a_page_beyond_the_limit_is_left_out():
    data = _dump(
        ("Big", 0, "", "x" * (mediawiki.MAX_PAGE_CHARS + 1)),
        ("Small", 0, "", "Here."),
        ("Empty", 0, "", "{{x}}"),
    )
    told = []
    counted = account.Words(lambda *what: told.append(what))
    found = mediawiki.read(io.BytesIO(data), path="d", account=counted)
    assert [d.text for d in found] == ["Small\n\nHere."]
    assert told == [
        ("left_out/page_too_large", "Big"),
        ("left_out/templates", "{{x}}"),
        ("left_out/page_without_text", "Empty"),
    ]


def test_a_page_within_a_page_ends_what_it_stands_in():
    dump = (
        b"<mediawiki><page><title>A<page></page></title></page>"
        b"<page><title>B</title><text>b</text></page></mediawiki>"
    )
    found = mediawiki.read(io.BytesIO(dump), path="x.xml")
    assert [each.text for each in found] == ["B\n\nb"]
