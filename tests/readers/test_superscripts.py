# ruff: noqa: E501 (golden texts stand as they are)
"""One rule for what is raised, in every format that can raise."""

import io

import pytest

from data_pipeline.readers import superscripts
from data_pipeline.readers.manpage import man
from data_pipeline.readers.markup import html, markdown, rst
from data_pipeline.readers.publications import akoma_ntoso, cwe
from data_pipeline.readers.wikipedia import wikitext

# What stands before, what is raised, what stands behind: as it is shown.
SHOWN = [
    ("<sup>1</sup> Der Bundesrat kann Absatz <sup>1</sup> erg\u00e4nzen", "1 Der Bundesrat kann Absatz 1 erg\u00e4nzen"),
    ("m<sup>2</sup>; 3100 m<sup>3</sup>/s; 10<sup>6</sup>; 5km<sup>2</sup>", "m^2; 3100 m^3/s; 10^6; 5km^2"),
    ("Fuss.<sup>12</sup> und Wort<sup>3</sup> (VStG)<sup>1</sup> und so<sup>*</sup> oder<sup>a</sup>.", "Fuss. und Wort (VStG) und so oder."),
    ("Art. 5<sup>bis</sup>, 33<sup>ter</sup>, 1<sup>quinquies</sup>, b<sup>bis</sup>, Art. 5<sup>a</sup>", "Art. 5bis, 33ter, 1quinquies, bbis, Art. 5a"),
    ("Art. 12<sup>7</sup> und Absatz 3<sup>1</sup>", "Art. 12 und Absatz 3"),
    ("the 19<sup>th</sup>, 2<sup>nd</sup>, 1<sup>er</sup>, 2<sup>e</sup>, n<sup>o</sup> 19", "the 19th, 2nd, 1er, 2e, no 19"),
    ("16<sup>2</sup>/3 Perioden, 1<sup>1</sup>/2 Prozent", "16 2/3 Perioden, 1 1/2 Prozent"),
    ("2<sup>n</sup>, x<sup>n + 1</sup>, 10<sup>\u22126</sup>, e<sup>ix</sup>, (x+1)<sup>2</sup>, f(x)<sup>2</sup>", "2^n, x^(n + 1), 10^\u22126, e^ix, (x+1)^2, f(x)^2"),
    ("Na<sup>+</sup>, Cu<sup>2+</sup>, <sup>14</sup>C, (AB)<sup>-1</sup>", "Na^+, Cu^2+, 14C, (AB)^-1"),
    ("E=mc<sup>2</sup>, E = mc<sup>2</sup>, P + 2ab<sup>2</sup>, C und so<sup>2</sup>", "E=mc^2, E = mc^2, P + 2ab^2, C und so"),
    ("Windows<sup>TM</sup>, x<sup>[1]</sup>, it<sup>[citation needed]</sup>, B<sup>*)</sup>", "WindowsTM, x, it, B"),
    ("word<sup>this is new</sup> text", "word this is new text"),
    ("2<sup>2<sup>n</sup></sup> and <sup></sup>open<sup>", "2^(2^n) and open"),
]  # fmt: skip


def _marked(text):
    return text.replace("<sup>", superscripts.START).replace("</sup>", superscripts.END)


@pytest.mark.parametrize(("raw", "shown"), SHOWN)
def test_the_rule(raw, shown):
    assert superscripts.shown(_marked(raw)) == shown


def _akn(raw):
    law = f"<akomaNtoso><act><body><p>{raw}</p></body></act></akomaNtoso>"
    (found,) = akoma_ntoso.read(io.BytesIO(law.encode()), path="x")
    return found.text


def _cwe(raw):
    entry = f'<c><Weakness ID="1" Name="N"><Description>{raw}</Description></Weakness></c>'
    (found,) = cwe.read(io.BytesIO(entry.encode()), path="x")
    return found.text.partition("\n\n")[2]


def _rest(raw):
    return rst.convert(raw.replace("<sup>", "\\ :sup:`").replace("</sup>", "`\\ ")).strip()


def _man(raw):
    return man.convert(raw.replace("<sup>", "\\s-2\\u").replace("</sup>", "\\d\\s0"))


READERS = {
    "akn": _akn, "cwe": _cwe, "html": html.convert, "man": _man, "markdown": markdown.convert,
    "rest": _rest, "wikitext": wikitext.clean,
    "markdown_block": lambda raw: markdown.convert(f"<div>\n{raw}\n</div>"),
    "html_cell": lambda raw: html.convert(f"<table><tr><td>{raw}</td></tr></table>"),
    "markdown_cell": lambda raw: markdown.convert(f"|{raw}|\n|---|").strip(" |"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_has_the_same_rule(name):
    raw = (
        "In Absatz <sup>1</sup> steht m<sup>2</sup> und 2<sup>n</sup>; Fuss.<sup>12</sup> Art. "
        "5<sup>bis</sup> gilt."
    )
    assert READERS[name](raw) == "In Absatz 1 steht m^2 und 2^n; Fuss. Art. 5bis gilt."


def test_a_mark_with_a_link_is_a_note_s_behind_a_number_as_well():
    told = []
    raw = 'Seit 1998<sup><a href="#n3">3</a></sup> gilt x<sup>2</sup>.'
    left_out = lambda *what: told.append(what)  # noqa: E731
    assert html.convert(raw, left_out=left_out) == "Seit 1998 gilt x^2."
    assert markdown.convert("Seit 1998<sup>[3](#n3)</sup> gilt.", left_out=left_out) == (
        "Seit 1998 gilt."
    )
    assert told == [("note_marks", "3")] * 2
