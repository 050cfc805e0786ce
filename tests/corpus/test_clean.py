# ruff: noqa: E501 (golden texts stand as they are)
import io
import time

import pytest

from data_pipeline.corpus import boilerplate, clean, quality
from data_pipeline.readers import marks
from data_pipeline.readers import table as readers


def test_normalise_folds_nothing_but_what_cannot_be_seen():
    text = "Gro\u0308\u00dfe \u201ea\u201c \u2013 it\u2019s\r\n\tcode  \n        deep\x07\ufeff\n\n\n\n\n\nEnd\u2028Line "
    assert clean.normalise(text) == (
        "Gr\u00f6\u00dfe \u201ea\u201c \u2013 it\u2019s\n\tcode\n        deep\n\n\nEnd\nLine"
    )


# Each rule: what goes, what stays although it speaks of the same.
PAIRS = {
    "rfc": (
        "Status of this Memo\n\n   Distribution of this memo is unlimited.\n\n1.  Introduction\n\n   Text.",
        "1.  Introduction\n\n   Text.",
        "1.  Status\n\n   The Status of this Memo is discussed in the Copyright Notice of RFC 2026.",
    ),
    "pep": (
        "Text.\n\nCopyright\n\nThis document is placed in the public domain or under the\nCC0 license.",
        "Text.",
        "Copyright\n\nThis document is placed here. It explains more.\n\nNext section\n\nText.",
    ),
    "man": (
        "NAME\n\nx - y\n\nAUTHOR\n\nWritten by X.\n\nSEE ALSO\n\nz(1)\n\nCOLOPHON\n\nThis page is part of release 5.",
        "NAME\n\nx - y\n\nSEE ALSO\n\nz(1)",
        "DESCRIPTION\n\nThe COPYRIGHT file and its AUTHOR are shown by this command.",
    ),
    "markdown": (
        "Text.\n\nEdit this page\n\nBack to top\n",
        "Text.",
        "You can edit this page in a text editor. Back to top management.",
    ),
    "templates": (
        '{%- set a = b ~ ".2" -%}\n\nUp from {{ link(a, text="rank 6", doc="") }}.{{ anchor(id=a) }}\n\n{{< note >}}\n\n- {{ l(a) }}\n- b{: .c }',
        "Up from rank 6.\n\n- b",
        "A template {{ 7*7 }} shows 49; {{user.name}} and {% are shown as they stand.",
    ),
    "mdn": (
        "Text.\n\nSpecifications\n\nBrowser compatibility\n\nSee also\n\n- x\n\nSpezifikationen\n\nBrowser-Kompatibilit\u00e4t",
        "Text.\n\nSee also\n\n- x",
        "Browser compatibility\n\nIt works in all browsers.",
    ),
    "licence_header": (
        "Copyright (c) 2020 X. All rights reserved.\nLicensed under the GPL.\n\nText.",
        "Text.",
        "This chapter explains who is licensed under which terms.\n\nText.",
    ),
    "swiss_law": (
        "Art. 3 Kantone\nEingef\u00fcgt durch Ziff. I des BG vom 3. Okt. 2003, in Kraft seit 1. Jan. 2008\nSie sind frei (AS 2007 5765).",
        "Art. 3 Kantone\nSie sind frei.",
        "Das Gesetz, eingef\u00fcgt durch den Bundesrat, ist in Kraft seit 2008. Es gilt (Art. 5 Abs. 2).",
    ),
    "law_markdown": (
        "**Art. 43 ** Frist[^12]\n\n| 173 | Weicht eine Bestimmung ab. |\n\n|  |  |\n| Bern | Genf |\n| --- | --- |\n\nFussnoten\n\n[^1]: SR 741.01\n\n[^2]: Fassung gem\u00e4ss Ziff. I\nder V (AS 2013 4705).\n\nAnhang",
        "Art. 43  Frist\n\n173 | Weicht eine Bestimmung ab.\n\nBern | Genf\n\nAnhang",
        "Die Fussnoten [1] stehen unter dem Text: Art. 3 | 4 ist a--b.",
    ),
    "sphinx": (
        "Title\n\nSource code: Lib/os.py\n\nText.",
        "Title\n\nText.",
        "The Source code: it is open. See the Source code: Lib/os.py for more.",
    ),
}


@pytest.mark.parametrize("name", sorted(boilerplate.RULES))
def test_boilerplate_goes_and_sentences_stay(name):
    raw, left, kept = PAIRS[name]
    assert boilerplate.RULES[name](raw) == left
    assert boilerplate.RULES[name](kept) == kept


_STATUS = "Status of this Memo\n\n   This RFC specifies a standard. Distribution of this memo is unlimited."
_PROSE = "   The receiver of a message acknowledges each of its parts, and the sender waits.\n" * 60
# Contents as in RFC 822 (one entry to a block), 1341 and 1237 (headings indented or without dots),
# and 9000 (no page numbers).
_CONTENTS = {
    "leaders": (
        "                          TABLE OF CONTENTS\n\n     PREFACE ....................   ii\n\n"
        "     1.  INTRODUCTION ...........   1\n\n         1.1.  SCOPE ............   1\n\n"
        "     APPENDIX\n\n     A.  EXAMPLES ...............  36",
        "     1.  INTRODUCTION",
    ),
    "undotted": (
        "Table of Contents\n\n   1  Introduction                          1\n   2  The Content-Type that has a\n"
        "      long name                            3",
        "   1  Introduction",
    ),
    "colons": (
        "Table of Contents\n\n   1: Characteristics\n   1.1: Parts of a call\n   2: Interface",
        "1: Characteristics",
    ),
    "unpaged": (
        "Table of Contents\n\n   1.  Introduction\n     1.1.  Words\n   2.  Frames\n   Authors' Addresses",
        "1.  Introduction",
    ),
}


@pytest.mark.parametrize("name", sorted(_CONTENTS))
def test_only_the_contents_and_the_status_of_an_rfc_go(name):
    contents, heading = _CONTENTS[name]
    body = f"{heading}\n\n{_PROSE}\n   1 of 2 parts\n\n   Type ........ 16\n\n{_PROSE}".rstrip("\n")
    assert boilerplate.rfc(f"Title\n\n{_STATUS}\n\n{contents}\n\n{body}") == f"Title\n\n{body}"


def test_a_line_of_a_copyright_statement_is_no_heading():
    statement = (
        "Full Copyright Statement\n\n   Copyright (C) The Internet Society (1998)\n\n   Text."
    )
    assert (
        boilerplate.rfc(f"Title\n\n{statement}\n\n   INDEX\n\n   a") == "Title\n\n   INDEX\n\n   a"
    )


@pytest.mark.parametrize("heading", ["", "Acknowledgement\n\n", "9.  Acknowledgments\n\n"])
def test_who_pays_the_editor_of_rfcs_goes(heading):
    paid = (
        "   Funding for the RFC Editor function is currently provided by the\n   Internet Society."
    )
    assert boilerplate.rfc(f"   Text.\n\n{heading}{paid}\n") == "   Text.\n"
    said = f"   Text.\n\n{paid}\n   It is paid yearly.\n\nIndex"
    assert boilerplate.rfc(said) == said


@pytest.mark.parametrize("title", ["Status of this Memo", "Table of Contents", "Copyright Notice"])
def test_a_section_of_an_rfc_without_an_end_is_kept(title):
    text = f"Title\n\n   {title}\n\n{_PROSE}\n{_PROSE}".rstrip("\n")
    assert boilerplate.rfc(text) == text


def test_editor_settings_without_an_end_take_no_time():
    text = "Text.\n\nLocal Variables:\n" + "mode: indented-text\n" * 500
    started = time.process_time()
    assert boilerplate.pep(text) == text
    assert time.process_time() - started < 1
    settings = "..\n  Local Variables:\n  mode: text\n  End:"
    assert boilerplate.pep(f"Text.\n\n{settings}") == "Text."


@pytest.mark.parametrize("name", sorted(boilerplate.RULES))
def test_no_rule_looks_into_code(name):
    raw, _, _ = PAIRS[name]
    marked = f"Before.\n\n{marks.code(raw)}\n\nAfter it."
    assert clean.clean(marked, rules=(name,)) == clean.normalise(f"Before.\n\n{raw}\n\nAfter it.")


@pytest.mark.parametrize(
    ("reader", "raw"),
    [
        ("markdown", "For i = 1 To 3\nNext\n\nPrevious\nNext page\n[TOC]\nBuild Status"),
        ("html", "For i = 1 To 3\nNext\n\nBack to top"),
        ("rest", "For i = 1 To 3\nNext\n\nSource code: Lib/os.py"),
        ("man", "AUTHOR\nNext\n\nCOLOPHON\nx"),
    ],
)
def test_lines_of_code_that_look_like_navigation_stay(reader, raw):
    """Each reader marks its code, so that all rules together leave it as it is."""
    indented = raw.replace("\n", "\n   ")
    page = {
        "markdown": f"Text `Next`:\n\n- `Next`\n\n```vb\n{raw}\n```\n",
        "html": f"<p>Text <code>Next</code>:<ul><li><code>Next</code></ul><pre>{raw}</pre>",
        "rest": f"Text ``Next``:\n\n- ``Next``\n\n.. code:: vb\n\n   {indented}\n",
        "man": f".SH TEXT\n.EX\n{raw}\n.EE\n",
    }[reader]
    (found,) = readers.READERS[reader].read(io.BytesIO(page.encode()), path="x")
    text = clean.clean(found.text, rules=tuple(boilerplate.RULES))
    assert text.endswith(f"\n\n{raw}")
    assert reader == "man" or "\n\n- Next\n\n" in text


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        ("markdown", "Next"),
        ("markdown", "Build Status License badge"),
        ("sphinx", "Source code: Lib/os.py"),
        ("law_markdown", "| --- | --- |"),
        ("swiss_law", "AS 2007 5765"),
        ("swiss_law", "Eingef\u00fcgt durch Ziff. I, in Kraft seit 1. Jan. 2008"),
        ("pep", "Local Variables:\nmode: text\nEnd:"),
    ],
)
@pytest.mark.parametrize(("above", "below"), [("\n", "\n\n"), ("\n\n", "\n"), ("\n\n", "\n\n")])
def test_no_rule_joins_two_paragraphs(rule, gone, above, below):
    text = clean.clean(f"Before it.{above}{gone}{below}After it.", rules=(rule,))
    assert text.split("\n\n") in (["Before it.", "After it."], ["Before it.", f"{gone}\nAfter it."])


def test_a_note_ends_with_its_paragraph():
    raw = "Before it.\n[^1]: Fassung\ngem\u00e4ss Ziff. I\n[^2]: AS 1\n\nAfter it."
    assert boilerplate.law_markdown(raw) == "Before it.\n\nAfter it."


def test_what_a_rule_cuts_is_counted():
    cut = {}
    told = lambda rule, before, left: cut.update({rule: (before, left)})  # noqa: E731
    clean.clean("A.\n\nSource code: Lib/a.py", rules=("sphinx", "mdn"), count=told)
    assert cut == {"sphinx": ("A.\n\nSource code: Lib/a.py", "A.")}


@pytest.mark.parametrize(
    "sentence",
    [
        "It uses feedback from the sensor.",
        "The privacy policy of the server decides.",
        "RFC 2616 says so.",
    ],
)
def test_no_rule_cuts_a_real_sentence(sentence):
    for rule in boilerplate.RULES.values():
        assert rule(sentence) == sentence


ENGLISH = "The server sends a message to the client and waits for an answer that is signed. "
GERMAN = "Die Kantone sind souver\u00e4n, soweit ihre Souver\u00e4nit\u00e4t nicht durch die Verfassung beschr\u00e4nkt ist. "
VARIED = [
    f"Case {n} of the {n * 7} items is not that of the others, and {n * 3} is left. "
    for n in range(40)
]


def test_german_law_passes_its_own_rules_only():
    text = "".join(
        f"{n} {GERMAN}Artikel {n} gilt f\u00fcr das Jahr {1900 + n}. \n" for n in range(20)
    )
    assert quality.reason(text, lang="de", limits={}) == ""
    assert quality.reason(text, lang="en", limits={}) in ("min_stop_words", "language")
    assert quality.language(text)[0] == "de"


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        ("".join(VARIED), {}, ""),
        (ENGLISH, {}, "min_chars"),
        (ENGLISH, {"min_chars": 10}, ""),
        ("=+-/*{}[]()<>|&^%$#@!~" * 40, {}, "max_symbol_share"),
        ((ENGLISH.strip() + "\n") * 40, {}, "max_repeated_lines"),
        (ENGLISH * 40, {}, "max_repeated_ngrams"),
        (" ".join(f"zzq{n}" for n in range(400)), {}, "min_stop_words"),
        ("Le serveur est dans la ville de Paris avec un client pour les uns a be " * 1 + " ".join(
            f"et nous sommes all\u00e9s {n} fois chez nos amis" for n in range(60)), {}, "language"),
    ],
)  # fmt: skip
def test_rules_have_names(text, limits, reason):
    assert quality.reason(text, lang="en", limits=limits) == reason


def test_masking_leaves_documentation_alone():
    text = (
        "Mail a.b+c@mail.corp.ch or info@example.org; 8.8.8.8, 192.168.1.1, 192.0.2.7, 203.0.113.5, "
        "version 4.3.2.1, OID 1.3.6.1.4.1, 2a00:1450:4001:81b::200e, 2001:db8::5, std::vector, 12:30:45."
    )
    masked, counts = clean.mask(text)
    assert masked == (
        "Mail name@example.com or info@example.org; 192.0.2.1, 192.168.1.1, 192.0.2.7, 203.0.113.5, "
        "version 4.3.2.1, OID 1.3.6.1.4.1, 2001:db8::1, 2001:db8::5, std::vector, 12:30:45."
    )
    assert counts == {"emails": 1, "ip_addresses": 2}


def test_the_language_is_that_of_the_prose_not_of_the_code():
    code = "".join(f"const response{n} = await fetch(request.url, options);\n" for n in range(60))
    german = "Diese Eigenschaft gibt eine Ganzzahl zur\u00fcck, welche ihre L\u00e4nge angibt.\n\n"
    text = f"length\n\n{german}Beispiel\n\nHier wird ein neuer Puffer mit zwei Sekunden Dauer erstellt.\n\n{code}"
    assert quality.language(text)[0] == "de"
    assert quality.language(code)[0] == "en"


@pytest.mark.parametrize("reader", ["html", "man", "rest", "rfc"])
def test_windows_1252_is_read_as_such(reader):
    # 0x81 is one of the five bytes that Windows-1252 leaves open: it must not spoil the others.
    raw = b"It\x92s \x93quoted\x94 \x96 10\x80 \x85 gr\xfcn\x81 done"
    (found,) = readers.READERS[reader].read(io.BytesIO(raw), path="x")
    text = clean.normalise(found.text).strip()
    assert text == "It\u2019s \u201cquoted\u201d \u2013 10\u20ac \u2026 gr\u00fcn done"


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b'<meta charset="iso-8859-2">', "\u0141\u00f3d\u017a"),
        (b'<meta http-equiv="x" content="text/html; charset=koi8-r">', "\u0434\u0430"),
        (b'<meta charset="utf-7">', "gr\u00fcn"),
    ],
)
def test_the_charset_that_a_page_declares(head, text):
    encoding = {b"2": "iso-8859-2", b"r": "koi8-r"}.get(head.rstrip(b'">')[-1:], "cp1252")
    raw = head + b"<p>" + text.encode(encoding)
    (found,) = readers.READERS["html"].read(io.BytesIO(raw), path="x")
    assert found.text == text
