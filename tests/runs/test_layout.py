"""Files of a run that are damaged, or of another program, are named."""

import json
import shutil

import pytest

from data_pipeline.errors import UserError
from mypt_jax.monitor import goodput
from mypt_jax.runs import integrity, layout
from tests import run_factory


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (layout.CONFIG, layout.config),
        ("lineage.json", layout.record),
        (layout.FINISHED, layout.finished),
    ],
)
def test_a_file_without_what_belongs_there_is_named(tmp_path, name, read):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name} has no "):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        ("r", ("r", "")),
        ("r@3", ("r", "3")),
        ("r@best", ("r", "best")),
        ("r@home", ("r@home", "")),  # a run
        ("r@home@3", ("r@home", "3")),
        ("me@home/r", ("me@home/r", "")),
        ("me@home/r@3", ("me@home/r", "3")),
        ("gs://me@home/r", ("gs://me@home/r", "")),
        ("gs://b/r@home", ("gs://b/r@home", "")),
        ("gs://b/r@home@best", ("gs://b/r@home", "best")),
        ("s3://b/r@3", ("s3://b/r", "3")),
        ("old@3", ("old@3", "")),  # a run that was called so before it was refused
        ("r@4", ("r", "4")),  # also there, but the other one was there first
    ],
)
def test_a_path_may_have_an_at_of_its_own(spec, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("r", "r@home", "me@home/r", "old@3", "r@4"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / layout.CONFIG).write_text("{}")
    assert layout.parse_spec(spec) == read


def test_what_is_neither_a_step_nor_a_run_is_one_line():
    with pytest.raises(UserError, match="'r@hom': after @ stands a step number or the word best"):
        layout.parse_spec("r@hom")


@pytest.mark.parametrize("name", ["r@3", "a/r@best", "r@3/"])
def test_no_new_run_is_called_as_a_step_of_another(name):
    with pytest.raises(UserError, match="reads as step (3|best) of (a/)?r: give it another name"):
        layout.check_name(name, what="workdir")
    layout.check_name("r@home", what="workdir")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("runs/tiny/v8", "v8.py:tiny"),  # not there
        ("runs/tiny/v3", "v3.py:tiny"),
        ("runs/tiny/mine", "v3.py:tiny --config.workdir=runs/tiny/mine --config.init_from=runs/b"),
        ("runs/gpt2/v3", "v3.py:runs/gpt2"),
        ("my runs/v3", "v3.py:tiny '--config.workdir=my runs/v3' --config.init_from=runs/b"),
    ],
)
def test_the_command_that_makes_a_run_is_of_its_own_stage(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, size in (("tiny/v3", "tiny"), ("tiny/mine", "tiny"), ("gpt2", "gpt2")):
        own = run_factory.config(stage="v3", size=size, init_from="runs/b")
        (tmp_path / "runs" / place).mkdir(parents=True)
        (tmp_path / "runs" / place / layout.CONFIG).write_text(json.dumps(own))
    shutil.copytree("runs/tiny/v3", "my runs/v3")
    own = run_factory.config(stage="v3", size="gpt2", init_from="runs/gpt2")
    (tmp_path / "runs/gpt2/v3").mkdir()
    (tmp_path / "runs/gpt2/v3" / layout.CONFIG).write_text(json.dumps(own))
    made = layout.make_command(path)
    assert made == f"python -m mypt_jax.main --config=configs/{said}"


def test_goodput_of_another_program(tmp_path):
    (tmp_path / goodput.FILE).write_text("{}")
    with pytest.raises(UserError, match="has no 'starts'"):
        goodput.Ledger(str(tmp_path), started=0.0, is_writer=True).open()


@pytest.mark.parametrize(
    ("rest", "is_kept", "has"),
    [
        ({"opt_state/1/mu/w": [[2], "float32"], "step": [[], "int32"]}, True, True),
        ({"step": [[], "int32"]}, True, False),  # an import, a sum of runs
        ({"opt_state/1/mu/w": [[2], "float32"]}, False, False),  # a finished run, stripped
    ],
)
def test_a_step_has_an_optimizer_where_its_state_was_saved_and_stayed(tmp_path, rest, is_kept, has):
    step = tmp_path / "checkpoints/00000002"
    for name in ("params", "rest"):
        (step / name).mkdir(parents=True)
        (step / name / "data").write_bytes(b"1")
    (step / "meta.json").write_text(json.dumps({"tree": {"params": {}, "rest": rest}}))
    integrity.write_manifest(str(step))
    if not is_kept:
        integrity.forget(str(step), "rest")  # a kill before its files were removed, too
    assert layout.has_optimizer(str(tmp_path), 2) == has


def _chain(root) -> None:
    """base -> v3 -> v5, each with an id, and finished as run_factory has it."""
    ids = {}
    for stage, parent in (("base", None), ("v3", "base"), ("v5", "v3")):
        run = run_factory.write_run(root, stage, parent=parent, start=(5, 5), final=(4, 4))
        record = json.loads((run / "lineage.json").read_text())
        for one in record["ancestors"]:
            one["run_id"] = ids[one["stage"]]
        ids[stage] = record["run_id"] = f"{root.name} {stage}"
        held = {"path": str(root / "base"), "step": 20, "digest": "d"}
        (run / "lineage.json").write_text(json.dumps({**record, "teacher": held}))


def _places(run) -> list[str]:
    record = layout.record(str(run))
    found = [one["path"] for one in record["ancestors"]]
    assert record["parent"]["path"] == found[-1]
    return found


@pytest.mark.parametrize("again", [False, True])
def test_ancestors_are_where_they_were_moved_to(tmp_path, again, monkeypatch):
    """Also where others were trained in their old places since, and where ids are not known."""
    _chain(tmp_path / "old")
    old = [str(tmp_path / "old" / name) for name in ("base", "v3")]
    assert _places(tmp_path / "old/v5") == old
    (tmp_path / "old").rename(tmp_path / "new")
    if again:
        _chain(tmp_path / "old")
        path = tmp_path / "old/base/lineage.json"
        path.write_text(path.read_text().replace("old base", "another"))
    monkeypatch.setattr(integrity, "digest", lambda path, _: "d" if "new" in path else "")
    new = [str(tmp_path / "new" / name) for name in ("base", "v3")]
    assert _places(tmp_path / "new/v5") == new
    assert layout.record(str(tmp_path / "new/v5"))["teacher"]["path"] == new[0]
    monkeypatch.chdir(tmp_path / "new/v3")
    assert _places("../v5") == ["../base", "../v3"]
    (tmp_path / "new/base").rename(tmp_path / "new/away")
    assert _places(tmp_path / "new/v5") == [old[0], new[1]]


def test_ancestors_of_a_parent_that_was_moved_are_beside_it(tmp_path):
    """The run itself stays; its config says where its parent is now."""
    _chain(tmp_path / "old")
    for name in ("base", "v3"):
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "old" / name).rename(tmp_path / "new" / name)
    new = [str(tmp_path / "new" / name) for name in ("base", "v3")]
    run = str(tmp_path / "old/v5")
    record = layout.located(run, layout.record(run), init_from=new[1])
    assert [one["path"] for one in record["ancestors"]] == new


def test_what_a_run_was_merged_from_is_where_it_was_moved_to(tmp_path):
    _chain(tmp_path / "old")
    path = tmp_path / "old/v5/lineage.json"
    record = json.loads(path.read_text())
    base, v3 = record["ancestors"]
    record |= {"ancestors": [base], "parent": record["parent"]}
    record["merged_from"] = [{**v3, "weight": 1.0, "since": [{**base, "since": [base]}]}]
    path.write_text(json.dumps(record))
    (tmp_path / "old").rename(tmp_path / "new")
    found = layout.record(str(tmp_path / "new/v5"))["merged_from"][0]
    (since,) = found["since"]
    places = [found["path"], since["path"], since["since"][0]["path"]]
    assert places == [str(tmp_path / "new" / name) for name in ("v3", "base", "base")]


def test_a_parent_with_an_at_of_its_own_that_was_moved_is_found(tmp_path):
    _chain(tmp_path / "old")
    (tmp_path / "old/v3").rename(tmp_path / "old/v@3x")
    for name in ("config.json", "lineage.json"):
        path = tmp_path / "old/v5" / name
        path.write_text(path.read_text().replace("old/v3", "old/v@3x"))
    (tmp_path / "old").rename(tmp_path / "new")
    assert _places(tmp_path / "new/v5") == [str(tmp_path / "new" / n) for n in ("base", "v@3x")]


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_place_that_is_none_is_no_traceback(path, tmp_path):
    _chain(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    file = tmp_path / "new/v5/lineage.json"
    record = json.loads(file.read_text())
    record["ancestors"][0]["path"] = path
    file.write_text(json.dumps(record))
    if path:
        with pytest.raises(UserError, match="lineage.json has ancestors.0..path"):
            layout.record(str(tmp_path / "new/v5"))
    else:
        assert layout.record(str(tmp_path / "new/v5"))["ancestors"][0]["path"] == ""
