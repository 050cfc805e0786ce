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
