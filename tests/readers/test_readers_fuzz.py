# ruff: noqa: E501 (golden texts stand as they are)
"""Any bytes: a reader gives documents or a ReadError, in bounded time and memory."""

import bz2
import gzip
import io
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import table as readers
from data_pipeline.readers import xmlsafe

# Pieces of every format's markup: random bytes alone never get past a parser's first character.
PIECES = """
# |## |- |* |1. |> |``` |~~~|`|**|__|_|[a](b)|![|](|<!--|-->|<div>|</div>|<br>|| a | b |
||---|---|
|---
|title: x
|{{a("b")}}|{{|}}|.. note::|.. function:: f(
|.. |::

|   |    |\t|:ref:`a <b>`|`a`_|[1]_|===|----|+---+|.. [1]|:field: |.TH A 1
|.SH |.TP
|.B |.if n \\{|.ie t |.el |\\}|\\fB|\\*X|\\(|\\[|.ds X |.de Y
|..
|.so x
|.TS
|T{
|.TE
|.Bl -tag
|.It |.El
|.Op |.Dd x
|[Page 3]|\f|RFC 1 |{"id":"a","type":"malware","name":"b","description":"c"}|{"objects":[|]}|{|}|[|]|"|:|,
|<?xml version="1.0"?>|<akomaNtoso>|</akomaNtoso>|<body>|</body>|<p>|</p>|<num>|</num>
|<!DOCTYPE a [<!ENTITY b "c">]>|&b;|&amp;|&#0;|&#xD800;|&#1114112;|<mediawiki>|<page>|</page>|<text>|</text>
|<Weakness ID="1">|</Weakness>|<Description>|</Description>|/**|*/|{@code |@param x |class A {|func f() {
|package a|//|{||}|[[File:|[[a|]]|<ref>|</ref>|<ref/>|'''|==a==|{{convert|1|km}}|<table>|<tr>|<td>|<li>|<pre>|a\tb
|Subject: |Content-Type: text/html|Content-Type: multipart/mixed; boundary=b
|\n--b
|\nFrom a
|=?utf-8?q?=C3?=|charset=|base64|"cells":[|"cell_type":"code"|"markdown"|"source":|"outputs":|;|""
|word|Wort|\u00e4|\u2028|\U0001f600|\u0301|-|.|'| |
""".strip("\n").split("|")

TEXTS = st.lists(st.sampled_from([*PIECES, "\n", "\n\n", " "]), max_size=60).map(
    lambda parts: "".join(parts).encode()
)
DATA = st.one_of(st.binary(max_size=300), TEXTS, TEXTS, TEXTS)
# Converters in processes of their own have their own test.
CONVERTERS = ("docx", "pdf", "pptx")
NAMES = sorted(
    name
    for name, each in readers.READERS.items()
    if each.takes != "pair" and name not in CONVERTERS
)


def _read(name, data):
    stream = io.BytesIO(data)
    if readers.READERS[name].takes == "source":
        return list(readers.READERS[name].read([("f", stream)]))
    options = {"macros": True} if name == "markdown" else {}
    return list(readers.READERS[name].read(stream, path="f", **options))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=DATA)
def test_any_bytes(name, data):
    try:
        found = _read(name, data)
    except document.ReadError as error:
        assert error.kind
        return
    for each in found:
        each.text.encode()
        assert len(each.text) < 100 * len(data) + 10_000


# Input that makes a naive parser quadratic or worse; the size is far above any real nesting.
HOSTILE = {
    "markdown": [
        b"[" * 5_000,
        b"> " * 2_000 + b"x",
        b"*a " * 5_000,
        b"`" * 20_000,
        b"<!--" * 5_000,
        b"[^a]: " * 5_000,
        b"x[^a]\n\n" + b"[^a]: - " * 3_000,
        b"[^a]\n\n" + b"".join(b"[^a%d]: b [^a%d]\n" % (n, n) for n in range(3_000)),
        b"|a|\n|-|\n" + b"|`b" * 20_000,
        b"|a|\n|-|\n" + b"|b|c|\n" * 5_000,
    ],
    "rest": [b"- " * 300 + b"x", b"`a" * 1_000, b".. note::\n" * 500, b"*" * 20_000],
    "man": [b".if n \\{" * 5_000, b".RS\n" * 5_000, b"\\*[" * 5_000, b'."' * 9_000],
    "rfc": [b"\f" * 50_000, b"[Page 1]\n" * 20_000],
    "mediawiki": [
        b"<mediawiki><page><title>a</title><ns>0</ns><text>" + body + b"</text></page></mediawiki>"
        for body in (b"&lt;ref&gt;" * 20_000, b"{{a|" * 3_000, b"[[File:" * 9_000, b"{|\n" * 9_000)
    ],
    "html": [b"<div>" * 4_000, b"<li>" * 4_000, b"<p>" * 4_000],
    "javadoc": [b"/**" * 20_000, b"/** {@code " * 3_000 + b"*/", b"{@a" * 9_000],
    "godoc": [b"//a\n" * 30_000],
    "pod": [
        b"=pod\n\n" + body
        for body in (
            b"B<" * 50_000 + b"x",
            b"C<< " * 20_000 + b" >>" * 9_000,
            b"L<a|" * 20_000,
            b"=over\n\n=item x\n\n" * 5_000 + b"text",
            b" x\n\n" * 30_000,
            b"=begin x\n\n" * 20_000,
            b"X<" + b" " * 50_000,
            b"=item x\n\n" * 20_000,
        )
    ],
    "stix": [b"[" * 50_000, b'{"objects":' * 20_000],
    "akn": [b"<a>" * 50_000, b"<akomaNtoso>" * 10_000],
    "cwe": [b"<Weakness>" * 10_000],
    "tsv": [b"a\t" * 50_000, b"\n" * 50_000],
    "json": [b"[" * 50_000, b'{"text":' * 20_000],
    "csv": [b'"' * 50_000, b"," * 50_000, b"a,b\n" * 20_000],
    "mail": [
        b"a: b\n" * 20_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 9_000,
    ],
    "mailbox": [b"From a\n\n" * 9_000],
    "notebook": [b'{"cells":[' * 20_000, b'{"cells":[' + b"{}," * 20_000 + b"{}]}"],
    "jsonl": [b"[" * 50_000 + b"\n"],
    "plain": [b"\n" * 100_000],
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_input_is_bounded(name):
    for data in HOSTILE[name]:
        started = time.process_time()
        tracemalloc.start()
        try:
            _read(name, data)
        except (document.ReadError, RecursionError) as error:
            assert not isinstance(error, RecursionError) or name in ("rest", "html")
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert time.process_time() - started < 20, data[:20]
        assert peak < 200_000_000, data[:20]


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_a_decompression_bomb_ends_at_the_limit(tmp_path, suffix):
    path = tmp_path / f"bomb.txt{suffix}"
    data = b"\0" * 80_000_000
    path.write_bytes(gzip.compress(data, 9) if suffix == ".gz" else bz2.compress(data, 9))
    with pytest.raises(document.ReadError) as caught:
        list(readers.documents("rfc", path, name="b", max_bytes=1 << 26, options={}))
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("reader", ["mediawiki", "cwe", "akn"])
@pytest.mark.parametrize("token", [b'<a b="%s"/>', b"<!--%s-->"])
def test_a_tag_of_any_length_is_refused_in_time(reader, token):
    """Expat keeps a tag whole and starts it again with each chunk: quadratic without a limit."""
    data = b"<x>" + token % (b"x" * 12_000_000)
    started = time.process_time()
    with pytest.raises(document.ReadError) as caught:
        list(readers.READERS[reader].read(io.BytesIO(data), path="f"))
    assert caught.value.kind == "too_large"
    assert time.process_time() - started < 1


def test_attributes_count_as_the_element_s_text():
    tag = b'<b c="' + b"x" * 500_000 + b'"/>'
    found = xmlsafe.subtrees(
        io.BytesIO(b"<a>" + tag * 4 + b"</a>"), wanted=frozenset("a"), path="f", max_chars=10**6
    )
    with pytest.raises(document.ReadError) as caught:
        list(found)
    assert caught.value.kind == "too_large"
