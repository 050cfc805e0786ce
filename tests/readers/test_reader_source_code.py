"""Source code is kept to the character, and its language is told by the file's name."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import languages, source_code, table


def read(data, path):
    return list(source_code.read(io.BytesIO(data), path=path))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.py", "code/python"),
        ("B.CPP.gz", "code/cpp"),
        ("src/Makefile", "code/makefile"),
        ("CMakeLists.txt", "code/cmake"),
        ("what", "code/other"),
        ("run#!/usr/bin/env -S python3.11 -u", "code/python"),
        ("run#!/bin/bash", "code/shell"),
        ("run#! /usr/local/bin/Rscript", "code/r"),
        ("run#!ruby", "code/ruby"),
    ],
)
def test_code_as_it_stands_with_its_language(path, kind):
    path, sign, line = path.partition("#")
    text = f"{sign}{line}\n\tdef f():\n\n        return 'Ä'  # x  \n"
    (found,) = read(text.encode(), path)
    assert (found.text, found.kind, found.path) == (text, kind, path)


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("#!/usr/bin/python\n# -*- coding: koi8-r -*-", "koi8-r"),
        ("# vim: set fileencoding=cp1251 :", "cp1251"),
        ('@charset "shift_jis";', "shift_jis"),
        ("% a\n\\documentclass{x}\n\\usepackage[latin2]{inputenc}", "iso8859-2"),
        ("\n\n\n/* -*- mode: c; coding: EUC-JP -*- */", "euc-jp"),
    ],
)
def test_code_in_the_encoding_that_it_names(line, encoding):
    word = {"iso8859-2": "\u017elu\u0165"}.get(encoding, "\u043f\u0440\u0438")
    text = f"{line}\nx = '{word}'\n"
    for data in (text.encode(encoding), text.encode()):
        assert [each.text for each in read(data, "a.py")] == [text]


@pytest.mark.parametrize(
    "name", ["latin-1", "utf-7", "rot13", "no-such", "unicode_escape", "utf-16"]
)
def test_another_name_means_western_text(name):
    text = f"# coding: {name}\nx = '\u00e9\u20ac'\n"
    assert [each.text for each in read(text.encode("cp1252"), "a.py")] == [text]


def test_what_stands_further_down_declares_nothing():
    text = "a: 1\n" * 5 + "encoding: koi8-r\nb: \u00e9\n"
    assert [each.text for each in read(text.encode("cp1252"), "a.yaml")] == [text]


def test_names_go_before_suffixes_and_no_suffix_is_two_languages():
    assert table.named_for("docs/CMakeLists.txt") == table.named_for("x.Rs") == "code"
    assert table.named_for("README") is None and table.named_for("README.md") == "markdown"
    assert len(languages.BY_SUFFIX) == len({*languages.BY_SUFFIX})
    assert not {*languages.BY_SUFFIX} & {".md", ".txt", ".html", ".json", ".csv", ".m"}


@given(st.text(max_size=80).filter(lambda text: "\0" not in text and text.isprintable()))
def test_any_text_is_kept(text):
    found = read(text.encode(), "a.go")
    assert [each.text for each in found] == ([text.removeprefix("\ufeff")] if text.strip() else [])


def test_what_no_hand_wrote_is_refused():
    with pytest.raises(document.ReadError) as caught:
        read(b"x" * (source_code.MAX_BYTES + 1), "a.js")
    assert caught.value.kind == "too_large"
    with pytest.raises(document.ReadError) as caught:
        read(b"G\x40\x00\x10 transport stream", "a.ts")
    assert caught.value.kind == "undecodable"
