"""TSV, Moses pairs, JSON lines and plain text."""

import inspect
import io
import json

import pytest
import zstandard

from data_pipeline import document, errors
from data_pipeline.corpus import read as parts
from data_pipeline.readers import account, plain
from data_pipeline.readers import table as readers
from data_pipeline.readers.records import jsonl, tsv


def test_neighbouring_pairs_make_one_document_and_blank_lines_end_it():
    data = b"Guten Tag.\tGood day.\nWie geht es?\tHow are you?\n\nNeu.\tNew.\nhalb\t\n"
    found = [d.text for d in tsv.read(io.BytesIO(data), path="e.tsv", pairs=32)]
    assert found == ["Guten Tag.\nGood day.\n\nWie geht es?\nHow are you?", "Neu.\nNew."]
    found = [d.id for d in tsv.read(io.BytesIO(data), path="e.tsv", pairs=1)]
    assert found == ["e.tsv#0", "e.tsv#1", "e.tsv#2"]


def test_moses_files_must_have_equally_many_lines():
    left, right = b"A\nB\n", b"a\nb\n"
    (found,) = tsv.read_aligned((io.BytesIO(left), io.BytesIO(right)), path="x", layout="blocks")
    assert found.text == "A\nB\n\na\nb"
    with pytest.raises(document.ReadError) as caught:
        list(tsv.read_aligned((io.BytesIO(left), io.BytesIO(b"a\n")), path="x"))
    assert caught.value.kind == "not_aligned"


def test_jsonl():
    rows = [{"id": 7, "text": "one", "lang": "de", "licence": "MIT"}, {"text": "two\nlines"}]
    data = "\n".join(map(json.dumps, rows)).encode()
    found = list(jsonl.read(io.BytesIO(data), path="f.jsonl"))
    assert [(d.id, d.text, d.lang, d.licence, d.path) for d in found] == [
        ("7", "one", "de", "MIT", "f.jsonl"),
        ("f.jsonl#2", "two\nlines", "", "", "f.jsonl"),
    ]
    assert [d.id for d in jsonl.read(io.BytesIO(data), path="f", id_key="")] == ["f#1", "f#2"]


def _cut_short(path):
    """Rows of JSON lines as Zstandard without its last bytes; what is left ends with a line."""
    compressor = zstandard.ZstdCompressor().compressobj()
    rows = b"".join(b'{"id": "%d", "text": "one more"}\n' % number for number in range(99))
    packed = compressor.compress(rows) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed)  # no end of the frame


def test_truncated_jsonl_is_never_taken_for_a_short_one(tmp_path):
    path = tmp_path / "f.jsonl.zst"
    _cut_short(path)
    with pytest.raises(document.ReadError) as caught:
        list(readers.documents("jsonl", path, name=path.name, max_bytes=1 << 20, options={}))
    assert caught.value.kind == "truncated"


def test_a_truncated_part_of_a_build_is_named(tmp_path):
    _cut_short(tmp_path / "read" / "key.jsonl.zst")
    with pytest.raises(errors.UserError, match="key.jsonl.zst is truncated"):
        list(parts.documents("key", tmp_path))


@pytest.mark.parametrize("line", [b"{", b'{"a": 1}', b"[1]", b'{"text": 3}', b"\xff"])
def test_a_bad_line_is_named(line):
    with pytest.raises(document.ReadError):
        list(jsonl.read(io.BytesIO(line), path="f"))


def test_plain_text_keeps_everything_and_refuses_binary():
    (found,) = plain.read(io.BytesIO(b"\xef\xbb\xbfa\r\n\tb  \r\n"), path="p")
    assert found.text == "a\n\tb  \n"
    for data in (b"\xff\xfe\xff", b"a\0b"):
        with pytest.raises(document.ReadError) as caught:
            list(plain.read(io.BytesIO(data), path="p"))
        assert caught.value.kind == "undecodable"
    found = plain.read(io.BytesIO(b"a\n%\nb\n"), path="p", separator="%")
    assert [d.text for d in found] == ["a\n", "b\n"]


def _left_out(reader, data, **options):
    told = []
    counted = account.Words(lambda kind, text: told.append(kind.removeprefix("left_out/")))
    found = reader(data, path="f", account=counted, **options)
    return [each.text for each in found], told


def test_rows_that_are_no_pair_are_counted_and_the_others_read():
    data = b"a\tA\nonly one\nb\t\n\xff\tB\nc\tC\n"
    found = _left_out(tsv.read, io.BytesIO(data))
    assert found == (["a\nA\n\nc\nC"], ["tsv_columns", "half_pair", "undecodable_line"])
    sides = io.BytesIO(b"a\nb\n\xff\nc\n"), io.BytesIO(b"A\n\nB\nC\n")
    found = _left_out(tsv.read_aligned, sides)
    assert found == (["a\nA\n\nc\nC"], ["half_pair", "undecodable_line"])
    with pytest.raises(document.ReadError, match="not text"):
        list(tsv.read(io.BytesIO(b"\xff\xfe\xff\na\tA\n"), path="f"))


def test_halves_of_surrogate_pairs_are_counted():
    data = b'{"text": "a\\ud800b", "licence": "MIT\\ud800"}\n{"text": "\\ud83d\\ude00"}\n'
    assert _left_out(jsonl.read, io.BytesIO(data)) == (["ab", "\U0001f600"], ["lone_surrogates"])
    for each in jsonl.read(io.BytesIO(data), path="f"):
        each.licence.encode()


def test_every_reader_tells_what_it_leaves_out():
    for each in readers.READERS.values():
        assert "account" in inspect.signature(each.read).parameters
