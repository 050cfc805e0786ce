"""One bad record never stops a build of thousands; too many do, with the first shown."""

import json

import pytest
from test_inputs import options

from data_pipeline import errors
from data_pipeline.commands import prepare
from data_pipeline.prepare import inputs, not_read
from data_pipeline.tokens import shards

BAD = {
    "a.jsonl": b'{"text": null}\n{"text"\n[1]\n{"body": 1}\n'
    b'{"text": "\xff"}\n{"text": "\\ud800"}\n',
    "a.tsv": b"one\t\xff\ntwo\t\0\n",
}
KINDS = {
    "a.jsonl": {"json_broken": 2, "no_text_field": 2, "undecodable": 2},
    "a.tsv": {"undecodable": 2},
}


def write(path, good):
    """A file of good records with the bad ones of its kind in the middle."""
    line = {"a.jsonl": b'{"text": "text %d"}\n', "a.tsv": b"text\t%d\n"}[path.name]
    lines = [line % number for number in range(good)]
    lines.insert(good // 2, BAD[path.name])
    path.write_bytes(b"".join(lines))


def read(path, **limits):
    counted = not_read.NotRead(**limits)
    spec = inputs.parse(f"s:{path}", counted=counted)
    found = inputs.documents([spec], options(rows_per_document=1), groups={}, counted=counted)
    return list(found), counted


@pytest.mark.parametrize("name", KINDS)
def test_bad_records_are_left_out_and_counted(tmp_path, name):
    write(tmp_path / name, 2000)
    found, counted = read(tmp_path / name, max_bad=0.01)
    assert len(found) == 2000
    kinds = {f"records, {kind}": number for kind, number in KINDS[name].items()}
    assert counted.by_kind() == {"s": kinds}
    number = sum(KINDS[name].values())
    with pytest.raises(errors.UserError, match=f"{number} of {2000 + number} records are bad"):
        read(tmp_path / name, max_bad=0.0001)
    with pytest.raises(errors.UserError, match=f"{name}.*--strict"):
        read(tmp_path / name, max_bad=1, strict=True)


def test_columns_and_json_and_a_table_with_texts(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = ["x"] * 999 + [None]
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps([*({"text": text} for text in texts), 7]))
    (tmp_path / "a.csv").write_text("n,text\n" + "1,x\n" * 999 + "1\n")
    for name, bad in (("a.parquet", 1), ("a.json", 2), ("a.csv", 1)):
        found, counted = read(tmp_path / name, max_bad=0.002)
        assert len(found) == 999 and sum(counted.by_kind()["s"].values()) == bad


def test_a_wrong_name_of_the_text_is_found_early(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x"}\n' * 1000 + "not even read\n")
    with pytest.raises(errors.UserError, match="1000 of 1000 .*no field 'text' but body"):
        read(path, max_bad=0.001)


def test_one_byte_that_is_no_text_leaves_out_its_row_of_a_csv(tmp_path):
    rows = b"n,text\n" + b"1,x\n" * 999 + b'1,"two\nb\xfcd"\n1,\xc3\xbc\n'
    (tmp_path / "a.csv").write_bytes(rows)
    found, counted = read(tmp_path / "a.csv", max_bad=0.002)
    assert [each.text for each in found] == ["x"] * 999 + ["ü"]
    assert counted.by_kind() == {"s": {"records, undecodable": 1}}
    assert "line 1002: not UTF-8" in counted.lines()[0]


@pytest.mark.parametrize("share", ["x", "-1", "101%", "nan", "1.5", "%"])
def test_the_limit_is_a_share(tmp_path, share):
    arguments = ["--source", f"a:{tmp_path}", "--out_dir", str(tmp_path / "out")]
    with pytest.raises(errors.UserError, match="--max_bad"):
        prepare.main([*arguments, f"--max_bad={share}"])


def test_the_command_leaves_them_out_and_says_so(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    records = [json.dumps({"text": f"A text of number {number}."}) for number in range(3000)]
    path.write_text("\n".join([*records, '{"text": null}']))
    arguments = ["--source", f"a:{path}", "--tokenizer", "gpt2-4096", "--workers", "1"]
    assert prepare.main([*arguments, "--out_dir", str(tmp_path / "out")]) == 0
    assert "a: not read: 1 records, no_text_field (" in capsys.readouterr().out
    assert sum(shards.open_dataset(tmp_path / "out").sources["a"].documents.values()) == 3000
    path.write_text("\n".join([*records[:100], '{"text": null}']))
    with pytest.raises(errors.UserError, match="1 of 101 records are bad, --max_bad=0.1%"):
        prepare.main([*arguments, "--out_dir", str(tmp_path / "small")])
    assert not (tmp_path / "small").exists()
