"""CSV and JSON files: records with a text, tables, and JSON that is neither."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account, source_code, textfiles
from data_pipeline.readers.records import csv_table, json_file


def read(reader, data, **options):
    data = data if isinstance(data, bytes) else data.encode()
    return list(reader.read(io.BytesIO(data), path="f", **options))


def texts(reader, data, **options):
    return [each.text for each in read(reader, data, **options)]


def test_rows_of_a_table_below_the_names_of_its_columns():
    data = 'Name;Ort\r\n"Müller; Anna";"Zürich\r\nSchweiz"\r\n;\r\nBob;Bern\r\nEve;Chur\r\n'
    assert texts(csv_table, data, rows=2) == [
        "Name | Ort\nMüller; Anna | Zürich Schweiz\nBob | Bern",
        "Name | Ort\nEve | Chur",
    ]
    assert texts(csv_table, "1,2\n3,4\n") == ["1 | 2\n3 | 4"]  # no names
    assert texts(csv_table, "a,b\n") == [] == texts(csv_table, "")
    assert texts(csv_table, "one\ntwo\n") == ["one\ntwo"]


def test_a_column_of_texts_gives_a_document_for_each():
    data = 'id,text,licence\n7,"one, ""two""\n  three",MIT\n8,four,\n'
    first, second = read(csv_table, data, id_key="id")
    assert (first.id, first.text, first.licence) == ("7", 'one, "two"\n  three', "MIT")
    assert (second.id, second.text) == ("8", "four")
    assert texts(csv_table, data, text_key="licence") == ["MIT", ""]


def test_cells_without_a_name_of_their_own_are_counted():
    counted = account.Words()
    data = b"text,note,note,\none,first,second,third,beyond the names\ntwo\n"
    found = list(csv_table.read(io.BytesIO(data), path="f", account=counted))
    assert [each.text for each in found] == ["one", "two"]
    assert counted.reasons == {"other_fields": 6} and counted.total["in"] == 8


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'a,b\n"x', "csv_broken"),
        (b'a,b\n"x"y,z\n', "csv_broken"),
        (b"a,b\n\xff,1\n", "undecodable"),
        (b"a,b\n\0,1\n", "undecodable"),
    ],
)
def test_broken_tables(data, kind):
    with pytest.raises(document.ReadError) as caught:
        read(csv_table, data)
    assert caught.value.kind == kind


def test_a_quote_that_never_ends_is_refused_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(textfiles, "MAX_LINE_BYTES", 1000)
    with pytest.raises(document.ReadError, match="field larger"):
        read(csv_table, b'a,b\n"' + b"x\n" * 2000)
    with pytest.raises(document.ReadError) as caught:
        read(csv_table, b"x" * 3000)
    assert caught.value.kind == "too_large"


CELLS = st.text(st.characters(exclude_categories=["C"], exclude_characters="\u2028"), max_size=9)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6), st.sampled_from(",;\t|"))
@settings(max_examples=150, deadline=None)
def test_every_word_of_a_table_is_kept(rows, delimiter):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["aa", "bb", "cc", "dd"])
    writer.writerows(rows)
    counted = account.Words()
    found = read(csv_table, stream.getvalue(), rows=3, account=counted)
    wanted = [word for row in rows for cell in row for word in account.words(cell)]
    got = [word for each in found for word in account.words(each.text.partition("\n")[2])]
    assert got == wanted and counted.total["unaccounted"] == 0


def test_records_of_a_json_file():
    records = [{"text": "one", "source": "a"}, {"text": "two"}]
    for data in (json.dumps(records), "\ufeff" + json.dumps(records, indent=1)):
        assert [(e.text, e.source) for e in read(json_file, data)] == [("one", "a"), ("two", "")]
    lines = "\n\n".join(map(json.dumps, records))
    assert texts(json_file, lines) == ["one", "two"]
    assert texts(json_file, json.dumps(records[0])) == ["one"]
    assert texts(json_file, '{"body": "x", "text": 1}', text_key="body") == ["x"]


def test_other_json_stands_as_it_is():
    data = '{\n  "a": [1, "zwei"]\n}\n'
    (found,) = read(json_file, data)
    assert (found.text, found.kind) == (data, "code/json")


def test_large_json_without_texts_is_data(monkeypatch):
    monkeypatch.setattr(source_code, "MAX_BYTES", 99)
    assert len(texts(json_file, json.dumps([{"text": "x" * 99}]))) == 1
    with pytest.raises(document.ReadError) as caught:
        read(json_file, json.dumps({"data": [0] * 99}))
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("data", ["{", "", '{"text": "a"}\nx\n', "[" * 100_000])
def test_what_is_no_json(data):
    with pytest.raises(document.ReadError) as caught:
        read(json_file, data)
    assert caught.value.kind == "json_broken"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_texts_come_back_from_a_list_and_from_lines(values):
    values = [value.replace("\r", "").replace("\0", "") for value in values]
    records = [{"text": value} for value in values]
    if values:
        assert texts(json_file, json.dumps(records)) == values
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    assert texts(json_file, lines) == values if values else True
