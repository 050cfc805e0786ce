# ruff: noqa: E501 (golden texts stand as they are)
import datetime
import io
import json
from xml.etree import ElementTree

import pytest

from data_pipeline import document, errors
from data_pipeline.corpus.fetch import fedlex
from data_pipeline.readers.publications import akoma_ntoso

LAW = """<?xml version="1.0" encoding="UTF-8"?>
<akomaNtoso xmlns="http://docs.oasis-open.org/legaldocml/ns/akn/3.0"><act><meta><x>no</x></meta>
<preface><p><docNumber>101</docNumber></p><p><docTitle>Bundes\u00adverfassung <br/>der Schweiz</docTitle></p></preface>
<preamble><p>Das Volk,<authorialNote><p>SR 101</p></authorialNote> im Bestreben,</p></preamble>
<body><title eId="t1"><num>1. Titel: </num><heading>Allgemeines</heading>
<article eId="art_3"><num><b>Art. 3</b><authorialNote><p>Eingef\u00fcgt durch Ziff. I</p></authorialNote></num><heading>Kantone</heading>
<paragraph eId="p1"><num>1</num><content><p> Die\u00a0Kantone sind souver\u00e4n.</p></content></paragraph>
<paragraph eId="p2"><num>2</num><content><blockList><listIntroduction>Sie \u00fcben aus:</listIntroduction>
<item><num>a.</num><p>erstens;</p></item><item><num>b<sup>bis</sup>.</num><p>zweitens.</p></item></blockList></content></paragraph>
<paragraph eId="p1"><num>3</num><content><table><tr><th><p>Jahr</p></th><th><p>Satz</p></th></tr><tr><td><p>2020</p></td><td><p>7,7</p></td></tr></table><placeholder>x</placeholder></content></paragraph>
</article></title></body>
<components><component><doc><mainBody><p>Anhang Eins</p></mainBody></doc></component></components></act></akomaNtoso>"""


def _read(text):
    return list(akoma_ntoso.read(io.BytesIO(text.encode()), path="law.xml"))


def test_law():
    (found,) = _read(LAW)
    assert found.text == (
        "101\n\nBundesverfassung der Schweiz\n\nDas Volk, im Bestreben,\n\n"
        "1. Titel: Allgemeines\n\nArt. 3 Kantone\n\n1 Die Kantone sind souver\u00e4n.\n\n"
        "2 Sie \u00fcben aus:\na. erstens;\nbbis. zweitens.\n\n3\n\nJahr | Satz\n2020 | 7,7\n\nAnhang Eins"
    )


# Shapes of codes: marginal headings, articles without heading, notes as asterisks, spacer columns
# in tables, numbered sections inside of an article, an index of key words at the end.
CODE = """<akomaNtoso xmlns="http://docs.oasis-open.org/legaldocml/ns/akn/3.0" xmlns:fedlex="http://fedlex.admin.ch/"><act><body>
<book><num>Erster Teil: </num><heading>Das Recht</heading>
<level fedlex:role="marginal"><num>A. </num><heading>Anwendung<sup><authorialNote><p>Ausdruck gem\u00e4ss Ziff. I</p></authorialNote></sup> des Rechts</heading>
<article><num><b>Art. 4</b></num><paragraph><content><p>Das Gericht entscheidet nach Recht und Billigkeit.</p></content></paragraph></article>
<article><num><b>Art. 5</b><i>a</i><authorialNote><p>Aufgehoben</p></authorialNote></num></article></level>
<article><num><b>Art. 6</b></num><heading>Tarif<authorialNote><p><sup>*</sup> Siehe unten</p></authorialNote>*</heading><paragraph><num><span>1</span></num><content><p><span> Die Steuer betr\u00e4gt:</span></p>
<table><tr><th>
</th><th><p>Franken</p></th><th> </th></tr><tr><td><p>bis</p></td><td><p>15 200</p></td><td/></tr></table></content></paragraph></article>
<article><num><b>Art. 7</b></num><subdivision><heading>1.<inline><authorialNote><p>Angenommen</p></authorialNote></inline> \u00dcbergang</heading><paragraph><content>
<blockList><listIntroduction> Der Bund regelt:</listIntroduction><item><num>a. </num><blockList><listIntroduction>die Leistungen:</listIntroduction><item><num>1. </num><p>eigene,</p></item></blockList></item></blockList></content></paragraph></subdivision></article></book>
<proviso><heading>Schlussbestimmungen</heading><paragraph><content><p><sup>1</sup> Das alte Recht wird aufgehoben.</p></content></paragraph></proviso>
<proviso><heading>Sachverzeichnis</heading><level><num>W</num><content><p><b>Wald</b> 77</p></content></level></proviso>
</body></act></akomaNtoso>"""


def test_a_code_of_law():
    (found,) = _read(CODE)
    assert found.text == (
        "Erster Teil: Das Recht\n\nA. Anwendung des Rechts\n\nArt. 4\n\n"
        "Das Gericht entscheidet nach Recht und Billigkeit.\n\nArt. 5a\n\nArt. 6 Tarif\n\n"
        "1 Die Steuer betr\u00e4gt:\n\nFranken\nbis | 15 200\n\nArt. 7\n\n1. \u00dcbergang\n\n"
        "Der Bund regelt:\na. die Leistungen:\n    1. eigene,\n\n"
        "Schlussbestimmungen\n\n1 Das alte Recht wird aufgehoben."
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<akomaNtoso><act><preface><p>x</p></preface></act></akomaNtoso>", "no_body"),
        ("<html/>", "not_akn"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><akomaNtoso/>', "xml_dtd"),
        ("<akomaNtoso><act>", "xml_broken"),
    ],
)
def test_what_is_no_law_is_named(text, kind):
    with pytest.raises(document.ReadError) as caught:
        _read(text)
    assert caught.value.kind == kind


HOST = "https://fedlex.data.admin.ch"


def _answer(*rows):
    bindings = [
        {key: {"type": "uri", "value": value} for key, value in row.items()} for row in rows
    ]
    return json.dumps({"head": {"vars": []}, "results": {"bindings": bindings}}).encode()


def _row(law, date, number, key="url", host=HOST):
    file = f"{host}/filestore/eli/{law}/{date}-de-xml-{number}.xml"
    return {"law": f"{HOST}/eli/{law}", "date": date, key: file}


def test_newest_applicable_text_and_largest_export_as_a_number():
    answer = _answer(
        _row("cc/1", "2024-01-01", 9),
        _row("cc/1", "2025-01-01", 9),
        _row("cc/1", "2025-01-01", 10),
        _row("cc/1", "2099-01-01", 1),
        _row("cc/2", "2020-01-01", 1, key="private", host="https://internal.example"),
    )
    found = fedlex.newest(answer, date=datetime.date(2026, 1, 1))
    assert found[f"{HOST}/eli/cc/1"].endswith("2025-01-01-de-xml-10.xml")
    assert found[f"{HOST}/eli/cc/2"] == f"{HOST}/filestore/eli/cc/2/2020-01-01-de-xml-1.xml"
    assert fedlex.rows(answer) == 5


def test_only_the_xml_of_an_answer_with_all_formats():
    rows = [
        {"consol": f"{HOST}/eli/cc/2024/620/20250101", "dateAppl": "2025-01-01",
         "userFormat": f"{HOST}/vocabulary/user-format/{form}", "url": f"{HOST}/f-{form}-2.{form}"}
        for form in ("docx", "html", "xml")
    ]  # fmt: skip
    found = fedlex.newest(_answer(*rows), date=datetime.date(2026, 1, 1))
    assert found == {f"{HOST}/eli/cc/2024/620": f"{HOST}/f-xml-2.xml"}


def test_the_first_export_has_no_number():
    def answer(*ends):
        return _answer(
            *(
                {"consol": f"{HOST}/eli/cc/2026/51/20260301", "dateAppl": "2026-03-01",
                 "userFormat": f"{HOST}/vocabulary/user-format/xml", "url": f"{HOST}/51-20260301-de-xml{end}.xml"}
                for end in ends
            )
        )  # fmt: skip

    date = datetime.date(2026, 3, 1)
    law = f"{HOST}/eli/cc/2026/51"
    assert fedlex.newest(answer(""), date=date)[law].endswith("-de-xml.xml")
    assert fedlex.newest(answer("-1", ""), date=date)[law].endswith("-de-xml-1.xml")
    # Nothing is applicable yet.
    assert fedlex.newest(answer(""), date=datetime.date(2026, 2, 28)) == {}


def test_query_and_its_bad_input():
    date = datetime.date(2026, 1, 1)
    text = fedlex.query(language="en", date=date, law="eli/cc/1999/404")
    # Laws in force only, each row once, and sorted within: see the comment in the query.
    assert "enforcement-status/0" in text and "SELECT DISTINCT" in text
    assert text.index("ORDER BY") < text.index("LIMIT") and "} LIMIT" in text.replace("\n", "")
    assert "language/ENG" in text and '"2026-01-01"^^xsd:date' in text and "1999/404" in text
    with pytest.raises(errors.UserError, match="language"):
        fedlex.query(language="xx", date=date)
    with pytest.raises(errors.UserError, match="ELI"):
        fedlex.query(language="de", date=date, law="eli/cc/1> } DROP ALL")
    with pytest.raises(errors.UserError, match="bindings"):
        fedlex.newest(b"<html>", date=date)


def test_powers_are_no_longer_numbers():
    raw = "<p>10<sup>6</sup> auf 5 m<sup>2</sup>, Art. 5<sup>bis</sup>, Gesetz<sup>3</sup></p>"
    node = ElementTree.fromstring(raw)
    assert akoma_ntoso._text(node) == "10^6 auf 5 m^2, Art. 5bis, Gesetz"
