"""JSON files of a run with wrong types, keys that are missing, other schemas: never a traceback."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.monitor import goodput
from mypt_jax.report import command
from mypt_jax.runs import drawn, kinds, layout, lineage
from tests import odd_json, run_factory

READERS = {
    layout.CONFIG: layout.config,
    lineage.FILE: layout.record,
    layout.FINISHED: layout.finished,
    goodput.FILE: goodput.read,
}
STARTS = [{"started": 1.0, "ended": 9.0, "done": 4, "secs": {"steps": 7.5, "restore": 0.5}}]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    run_factory.write_guide_chain(root)
    for run in root.iterdir():
        (run / goodput.FILE).write_text(json.dumps({"schema": 1, "starts": STARTS}))
    return root


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_file_with_something_else_in_it_is_read_or_named(chain, data):
    """Whatever passes is used: the report's tables and what a child draws of it."""
    run = chain / data.draw(st.sampled_from(["base", "v3", "v8"]))
    name = data.draw(st.sampled_from(sorted(READERS)))
    path = run / name
    before = path.read_text()
    path.write_text(json.dumps(data.draw(odd_json.altered(json.loads(before)))))
    try:
        READERS[name](str(run))
        command.build(chain, chain)
        drawn.table(layout.record(str(run)), layout.config(str(run)))
        lineage.total_tokens_by_source(layout.record(str(run)))
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    "step", ['"40"', "null", "40.0", "-1", "true", "[40]", "1e400", str(2**70)]
)
def test_a_step_is_a_whole_number(tmp_path, step):
    (tmp_path / layout.FINISHED).write_text(f'{{"step": {step}, "params_sha256": ""}}')
    with pytest.raises(UserError, match="finished.json has step = .*, wanted a whole number"):
        layout.finished(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer": None}, "has tokenizer = None, wanted an object"),
        ({"data": None}, "has data = None, wanted an object"),
        ({"ancestors": {}}, "has ancestors = dict, wanted a list"),
        ({"ancestors": [{}]}, "has no 'ancestors[0].path'"),
        ({"schema": 2}, "has schema 2, this version reads 1: it is of a later version"),
        ({"schema": 0}, "has schema 0, this version reads 1: it is of another version"),
        ({"schema": "1"}, "has schema '1', this version"),
        ({"tokens_by_source": {"a": "7"}}, "has tokens_by_source.a = '7', wanted a whole number"),
    ],
)
def test_a_lineage_says_what_is_wrong_in_it(chain, tmp_path, change, words):
    record = json.loads((chain / "v8" / lineage.FILE).read_text()) | change
    (tmp_path / lineage.FILE).write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        layout.record(str(tmp_path))
    assert words in str(caught.value)
    del record[next(iter(change))]
    (tmp_path / lineage.FILE).write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"has no '{next(iter(change))}'"):
        layout.record(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\ufeff{}", "[" * 100_000, "1" * 5000])
def test_what_is_no_json_object_is_named(tmp_path, text):
    for name, read in READERS.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read(str(tmp_path))
    (tmp_path / layout.CONFIG).write_bytes(b"\xff")
    with pytest.raises(UserError, match=layout.CONFIG):
        layout.config(str(tmp_path))


def test_more_keys_are_welcome():
    assert kinds.fault({"step": 4, "params_sha256": "", "of tomorrow": []}, kinds.FINISHED) == ""
