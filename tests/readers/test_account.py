# ruff: noqa: E501 (golden texts stand as they are)
"""Every word of a file is in a document, left out for a reason, or unaccounted: nothing else."""

import collections
import io

import pytest
import test_reader_epub
import test_readers_fuzz as fuzz
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account, marks
from data_pipeline.readers import table as readers

WORDS = st.lists(st.sampled_from("alpha beta gamma 12 n\u00e4h".split()), max_size=12).map(" ".join)


def _counted():
    told = []
    return account.Words(lambda kind, text: told.append((kind, text))), told


def _adds_up(counted):
    total = counted.total
    explained = sum(counted.reasons.values()) + total["unaccounted"]
    return total["in"] + total["added"] == total["out"] + explained


def _read(name, data, counted):
    reader, stream = readers.READERS[name], io.BytesIO(data)
    if reader.takes == "source":
        return list(reader.read([("f", stream)], account=counted))
    return list(reader.read(stream, path="f", account=counted))


@given(raw=WORDS, shown=WORDS, left_out=WORDS, markup=WORDS, skipped=WORDS)
def test_words_add_up(raw, shown, left_out, markup, skipped):
    counted, _ = _counted()
    counted.left_out("note", left_out)
    counted.read(raw, shown, where="f", pieces=lambda raw: [("markup/tags", markup)])
    counted.skip("other", skipped)
    assert _adds_up(counted)
    assert counted.total["in"] == len(raw.split()) + len(skipped.split())
    assert counted.total["out"] == len(shown.split())


def test_a_reason_explains_no_more_than_is_missing():
    counted, told = _counted()
    counted.left_out("note", "one two two three")
    pieces = [("markup/x", "four four")]
    counted.read("one two two four five", "one", where="f", pieces=lambda raw: pieces)
    assert counted.reasons == {"note": 2, "markup/x": 1}
    assert told == [("left_out/note", "one two two three"), ("unaccounted", "f: five")]


@given(st.lists(st.sampled_from(["a", "aa", "b", "ab"]), max_size=12), st.randoms())
def test_a_word_of_parts_that_are_missing_is_put_together(parts, rng):
    rng.shuffle(parts)
    missing = collections.Counter(part.encode() for part in parts)
    before = missing.copy()
    if account._join("".join(parts).encode(), missing):
        assert not +missing or sum(map(len, missing.elements())) == 0
    else:
        assert missing == before, "nothing was taken for a word that was not put together"


def test_no_word_takes_exponential_time():
    """One of 40 letters in a page of short words took longer than anybody waits."""
    missing = collections.Counter({b"a" * n: 40 for n in range(1, 6)})
    asked = []

    class Counted(collections.Counter):
        def __getitem__(self, word):
            asked.append(word)
            assert len(asked) < 10_000
            return super().__getitem__(word)

    before = Counted(missing)
    assert not account._join(b"a" * 80 + b"b", before) and before == missing
    assert account._join(b"a" * 80, before) and before.total() == missing.total() - 16


def test_markup_inside_of_words_parts_none():
    counted, told = _counted()
    shown = f"54a {marks.code('Spoofing')} don't"
    counted.read("54*a* S*poofing* don\u2019t", shown, where="f")
    assert counted.reasons == {"markup/inside_words": 4} and not told
    assert _adds_up(counted)


@pytest.mark.parametrize("name", fuzz.NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=fuzz.TEXTS)
def test_every_reader_accounts_for_the_words_of_its_documents(name, data):
    counted, _ = _counted()
    try:
        found = _read(name, data, counted)
    except document.ReadError:
        return
    assert counted.total["out"] == sum(account.count(each.text) for each in found)
    assert _adds_up(counted)


# A page of each format, none of whose words may be without a reason.
PAGES = {
    "akn": "<akomaNtoso><act><meta><x>m</x></meta><body><p>Der Bund<authorialNote><p>Fassung</p></authorialNote> regelt m<sup>2</sup>.</p></body></act></akomaNtoso>",
    "code": "def f(x):\n\treturn 'Ä'  \n",
    "csv": 'name,"what, it is"\none,"two ""three"""\n4,\n',
    "cwe": '<c><Weakness ID="1" Name="N"><Description>Bad.</Description><Content_History><Submission_Name>PL</Submission_Name></Content_History></Weakness><Categories><Category>Other text</Category></Categories></c>',
    "godoc": "// Copyright X.\n\npackage p\n\n// F does.\nfunc F(a int) { run(a) }\n",
    "html": "<head><title>T</title></head><nav>menu</nav><h1>A &amp; B</h1><p class='x'>Text <a href='http://x.y/z'>link</a><sup><a href='#n'>3</a></sup>.",
    "javadoc": "/* Licence */\npackage a;\n/** Does {@link B#c(int) it} <b>all</b>.\n * @param x the x\n * @author Me */\nvoid f(int x) { run(); }\n",
    "json": '[{"text": "one two", "id": "7", "title": "Three four"}]',
    "jsonl": '{"text": "one two", "id": "7", "title": "Three four"}\n',
    "mail": "Subject: =?utf-8?q?Gr=C3=BCn?=\nFrom: a b <a@b.c>\nContent-Type: text/html\n\n<p class='x'>Text &amp; <b>more</b>\n",
    "mailbox": "From a@b.c Mon\nSubject: one\n\n>From here\n\nFrom b@c.d Tue\n\ntwo\n",
    "man": '.\\" Comment here\n.TH X 1 2020 Linux\n.SH NAME\nx \\- \\fBy\\fP\n.if t not shown\n.IP \\(bu 2\nitem\n.EQ\na over b\n.EN\n',
    "markdown": "---\ntitle: A\nslug: b\n---\n\n<!-- c -->\n# H {#anchor}\n\n1. [link](http://x.y/z 'title')<br/>\n1. `code`\n\n[r]: http://a.b\n",
    "mediawiki": "<mediawiki><page><title>A</title><ns>0</ns><text>'''Bold''' [[B|c]]&lt;ref&gt;note&lt;/ref&gt; {{x|y}}\n== See also ==\n* z\n</text></page><page><title>Talk:A</title><ns>1</ns><text>chat</text></page></mediawiki>",
    "notebook": '{"nbformat": 4, "cells": [{"cell_type": "markdown", "source": ["# A\\n", "[b](http://c.d)"]}, {"cell_type": "code", "source": "x = 1", "outputs": [{"text": ["printed"]}]}]}',
    "plain": "one two\n",
    "pod": "# A comment\nuse x;\n\n=encoding utf8\n\n=head1 NAME\n\nA - B<b>old C<< a->b >> L<text|http://x.y>X<index> caf\u00e9 cafE<eacute>\n\n=over 4\n\n=item 1.\n\none\n\n=back\n\n=for html <b>x</b>\n\n=begin comment\n\nnote\n\n=end comment\n\n=foo bar\n\n  verb E<lt>\n\n=cut\n\nmore();\n",
    "rows": "one\ttwo\nthree\n",
    "rest": ".. comment here\n\n.. _label:\n\nTitle\n=====\n\n:func:`~a.b` |sub| [1]_\n\n.. |sub| replace:: word\n\n.. raw:: html\n\n   <b>x</b>\n\n.. [1] note\n",
    "rfc": "Text one.\n\nPostel          [Page 1]\n\f\nRFC 1   Title   May 1990\n\nText two.\n",
    "stix": '{"objects": [{"id": "malware--1", "type": "malware", "name": "N", "description": "Bad (Citation: X 1).", "created": "2020", "x_mitre_platforms": ["Linux"]}, {"id": "identity--1", "type": "identity", "name": "MITRE"}]}',
    "tsv": "Guten Tag\tGood day\tnote\nhalb\t\n",
}  # fmt: skip


def _page(name):
    if name == "epub":
        return test_reader_epub.book({"a.xhtml": "<h1>A</h1><p class='x'>one &amp; <b>two</b>"})
    if name not in ("arrow", "parquet"):
        return PAGES[name].encode()
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    stream, table = io.BytesIO(), pyarrow.table({"text": ["one", "two"], "lang": ["en", "de"]})
    if name == "parquet":
        parquet.write_table(table, stream)
    else:
        with pyarrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_a_page_of_each_format_is_accounted_for(name):
    counted, told = _counted()
    found = _read(name, _page(name), counted)
    assert found and counted.total["out"] and _adds_up(counted)
    assert counted.total["unaccounted"] == 0, told
