"""mypt sweep: the runs it plans, what it refuses, and real runs that finish and are skipped."""

import csv
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.runs import comparison, layout
from mypt_jax.sweep import command, outcome, trials
from tests import run_factory

V8 = "configs/v8.py:tiny"


def test_every_combination_with_every_seed():
    grid = trials.read_grid(["optim.peak_lr=3e-4,9e-4", "data.replay_ratio=.1,.2,.3"])
    planned = trials.plan(V8, [], grid, seeds=2, out_dir="sweep")
    settings = [tuple(one.settings.values()) for one in planned]
    assert settings == [*itertools.product(("3e-4", "9e-4"), (".1", ".2", ".3"), ("1337", "1338"))]
    assert len({one.workdir for one in planned}) == len(planned)
    for one in planned:
        config = one.stage.config
        assert config["optim"]["peak_lr"] == float(one.settings["optim.peak_lr"])
        assert config["data"]["replay_ratio"] == float(one.settings["data.replay_ratio"])
        assert config["workdir"] == one.workdir == f"sweep/{one.workdir.rpartition('/')[2]}"


def test_a_limit_of_0_beside_others_is_the_arm_without_one(tmp_path):
    grid = trials.read_grid(["objective.max_forgetting=0,0.01"])
    without, limited = trials.plan("configs/adapt.py:tiny", [], grid, seeds=1, out_dir="sweep")
    assert not [one for one in without.arguments if one.startswith("--config.objective")]
    assert without.settings == {"objective.max_forgetting": "0"}
    assert without.workdir == "sweep/max_forgetting=0"
    assert limited.stage.config["objective"]["max_forgetting"] == 0.01
    file = tmp_path / "limited.py"
    file.write_text(
        "from configs import adapt\n\n\ndef get_config(size='tiny'):\n"
        "    config = adapt.get_config(size)\n"
        "    config.workdir, config.objective.max_forgetting = 'limited', 0.02\n    return config\n"
    )
    with pytest.raises(UserError, match="has 0.02: sweep a stage file without"):
        trials.plan(f"{file}:tiny", [], grid, seeds=1, out_dir="sweep")


def test_a_second_grid_is_no_other_one(capsys, tmp_path):
    """It took the place of the first, without a word."""
    base = run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5, 2))
    line = ["--config=configs/adapt.py:tiny", f"--config.init_from={base}", "--print"]
    grids = ["--grid", "optim.peak_lr=1e-3,2e-3", "--grid", "seed=1,2"]
    assert command.main([*line, *grids]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_key_that_changes_nothing_is_said(tmp_path):
    line = ["--grid", "objective.teacher=base,parent", "--config.objective.replay=ce"]
    root = tmp_path / "sweep"
    planned = trials.plan(V8, line[2:], trials.read_grid(line[1:2]), seeds=1, out_dir=str(root))
    assert [one.without_effect() for one in planned] == 2 * [
        ["warning: objective.teacher has no effect with objective.replay=ce"]
    ]


@given(st.lists(st.sampled_from("0123456789e.-+,= "), max_size=12).map("".join))
def test_a_grid_is_read_or_refused(listed):
    try:
        grid = trials.read_grid([f"optim.peak_lr={listed}"])
    except UserError:
        return
    assert [*grid] == ["optim.peak_lr"] and all(grid["optim.peak_lr"])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--grid", "optim.peek_lr=1,2"], "did you mean --config.optim.peak_lr"),
        (["--grid", "optim.peak_lr"], "wanted KEY=VALUE,VALUE"),
        (["--grid", "workdir=a,b"], "a workdir of its own"),
        (["--grid", "data.domain=a,b"], "sweep another key"),
        (["--grid", "optim.peak_lr=1e-3,x"], "wanted a number"),
        (["--grid", "optim.peak_lr=1e-3,-1"], "optim.peak_lr"),
        (["--grid", "optim.peak_lr=1,1"], "stands there twice"),
        (["--grid", "seed=1,2", "--seeds=2"], "leave one out"),
        (["--grid", "optim.peak_lr=1e-3,0.001"], "would be the same run twice"),
        (
            ["--grid", "objective.max_forgetting=0,0.0,.1", "--config.objective.replay=kl"],
            "would be the same run twice",
        ),
        (["--grid", "optim.peak_lr=1e-3,2e-3", "--grid", "optim.peak_lr=3e-3"], "there twice"),
        (["--grid", "adapter.rank=0,4000"], "more than the"),
        (["--grid", "optim.peak_lr=1e-3,2e-3", "--config.optim.peak_lr=1"], "is given"),
        (["--grid", "objective.max_forgetting=0"], "leave it out for no limit"),
        (
            ["--grid", "objective.replay=ce,kl", "--config.data.replay_ratio=0"],
            "give replay a share",
        ),
        (["--seeds=2", "--config.workdir=x"], "is given"),
        (["--seeds=2", "--learning_rate=1"], "--config.optim.peak_lr"),
        (["--seeds=2", "--parallel=0"], "at least 1"),
        (["--seeds=2", "--out_dir=gs://bucket/x"], "lies on a disk"),
        (["--seeds=2"], "not a finished run"),
        ([], "nothing to sweep"),
    ],
)
def test_what_cannot_be_swept_is_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=".*".join(said.split("*"))):
        command.main([f"--config={V8}", *arguments])
    assert not [*tmp_path.iterdir()]


def test_runs_finish_are_told_and_skipped(small, tmp_path, capfd):
    flags = [f"--config.{key}={value}" for key, value in small.items()]
    flags += ["--config.num_steps=3", "--config.optim.warmup_steps=1"]
    out_dir = tmp_path / "sweep"
    given_twice = ["--config=configs/base.py:tiny", "--seeds=2", f"--out_dir={out_dir}", *flags]

    assert command.main([*given_twice, "--print"]) == 0
    assert capfd.readouterr().out.count("-m mypt_jax.main --config=configs/base.py:tiny") == 2
    assert not out_dir.exists()

    assert command.main([*given_twice, "--parallel=2"]) == 0
    with open(out_dir / "trials.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["state"] for row in rows] == ["finished"] * 2
    assert [row["seed"] for row in rows] == ["1337", "1338"]
    assert len({row["params"] for row in rows}) == 2 and len({row["data"] for row in rows}) == 2
    for row in rows:
        assert math.isfinite(float(row["general"]))
        assert row["code"] == layout.record(row["run"])["code"]

    capfd.readouterr()
    assert command.main(given_twice) == 0
    assert "2 finished before" in capfd.readouterr().out
    with pytest.raises(UserError, match="optim.clip_norm"):
        command.main([*given_twice, "--config.optim.clip_norm=2"])


def test_a_change_over_a_part_of_the_sources_is_no_figure_of_all():
    """The loss that stands beside it in the row is of all."""
    whole = comparison.Difference(2.0, 2.5, 0.1, ("general/a",), {})
    assert outcome._difference("forgetting", whole)["forgetting"] == 0.5
    part = whole._replace(left_out={"general/b": "other windows"})
    assert not outcome._difference("forgetting", part)


def test_a_trial_is_chosen_by_the_half_that_is_chosen_on(family):
    """Only figures of the other half were given, by which nothing is to be chosen."""
    found = outcome.of_run(str(family / "v5"))
    end = layout.metrics(str(family / "v5"))[-1]
    assert found["select_domain"] == pytest.approx(end["eval/domain/loss"])
    assert found["select_general"] == pytest.approx(end["eval/general/loss"])
    assert found["select_forgetting"] == pytest.approx(end["forgetting/nats"])
    assert found["domain"] == pytest.approx(layout.finished(str(family / "v5"))["report"]["domain"])
    assert found["domain"] != found["select_domain"]
    assert found["forgetting"] == pytest.approx(end["report/forgetting/nats"])


def test_a_damaged_trial_is_a_row_beside_the_others(tmp_path):
    grid = trials.read_grid(["optim.peak_lr=3e-4,9e-4"])
    planned = trials.plan(V8, [], grid, seeds=1, out_dir=str(tmp_path))
    for one in planned:
        place = one.workdir.rpartition("/")[2]
        run = run_factory.write_run(
            tmp_path, "v8", parent=None, start=(9, 9), final=(5, 5), place=place
        )
    (run / "finished.json").write_text("{")
    outcome.write(str(tmp_path / "trials.csv"), planned, {})
    with open(tmp_path / "trials.csv", newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert states[0] == "finished" and states[1].startswith(f"damaged: run {run}")
