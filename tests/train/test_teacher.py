"""Stages that keep a teacher's words on replay windows, as real processes."""

import shutil

import pytest
from conftest import SMALL, train

from mypt_jax.runs import layout

TAUGHT = {"objective.replay": "kl", "log.every_steps": 1}


@pytest.fixture(scope="module")
def base(datasets, compile_cache, tmp_path_factory):
    """(root, overrides of a stage from root/base)."""
    root = tmp_path_factory.mktemp("taught")
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
    }
    assert train("base", {**overrides, "workdir": root / "base"}).returncode == 0
    return root, {**overrides, "init_from": root / "base", "num_steps": 6, "eval.every_steps": 6}


@pytest.fixture(scope="module")
def taught(base):
    root, overrides = base
    end = train("v3", {**overrides, **TAUGHT, "workdir": root / "v3"})
    assert end.returncode == 0, end.stderr
    return root / "v3"


def test_the_divergence_begins_at_nothing_and_reaches_the_metrics(taught):
    rows = layout.metrics(taught)[1:]
    assert all({"loss/domain", "loss/replay", "kl/replay"} <= set(row) for row in rows)
    assert rows[0]["kl/replay"] == pytest.approx(0, abs=1e-6)  # it is the teacher as yet
    assert rows[-1]["kl/replay"] > 1e-5
    # 30 % of 8 windows: the loss is the sum over domain windows and 3 x the divergence.
    first = rows[0]
    assert first["loss"] in [pytest.approx(first["loss/domain"] * n / 8, rel=1e-4) for n in (5, 6)]


def test_cross_entropy_reports_both_kinds_of_windows_too(base):
    root, overrides = base
    end = train("v3", {**overrides, "workdir": root / "ce", "log.every_steps": 1})
    assert end.returncode == 0, end.stderr
    row = layout.metrics(root / "ce")[-1]
    share = row["loss/replay"] - row["loss/domain"]
    weight = (row["loss"] - row["loss/domain"]) / share
    assert any(weight == pytest.approx(n / 8, rel=1e-3) for n in (2, 3))


def test_general_text_alone_can_be_taught(base):
    root, overrides = base
    alone = {"data.replay_ratio": 1.0, "num_steps": 2, "workdir": root / "alone"}
    end = train("v3", {**overrides, **TAUGHT, "objective.replay": "ce+kl", **alone})
    assert end.returncode == 0, end.stderr
    row = layout.metrics(root / "alone")[-1]
    assert row["loss"] == pytest.approx(row["loss/replay"] + 3 * row["kl/replay"], rel=1e-4)
    assert row.get("loss/domain") is None


def test_the_teacher_is_recorded_and_a_child_keeps_the_base(taught, base):
    root, overrides = base
    teacher = layout.record(taught)["teacher"]
    assert teacher["path"] == str(root / "base") and teacher["step"] == 12 and teacher["digest"]
    child = {**overrides, **TAUGHT, "init_from": taught, "num_steps": 2, "workdir": root / "v5"}
    assert train("v5", child).returncode == 0
    assert layout.record(root / "v5")["teacher"] == teacher
    child |= {"workdir": root / "v5p", "objective.teacher": "parent"}
    assert train("v5", child).returncode == 0
    assert layout.record(root / "v5p")["teacher"]["path"] == str(taught)


def test_a_resumed_run_has_the_same_teacher_and_the_same_losses(taught, base, tmp_path):
    root, overrides = base
    settings = {**overrides, **TAUGHT, "workdir": tmp_path / "v3", "time_budget_secs": 0.001}
    for _ in range(20):
        end = train("v3", settings)
        if end.returncode == 0:
            break
        assert end.returncode == 75, end.stderr
    whole, parts = layout.metrics(taught), layout.metrics(tmp_path / "v3")
    for key in ("loss", "kl/replay", "eval/domain/loss", "eval/general/loss"):
        assert [row.get(key) for row in parts] == [row.get(key) for row in whole]


def test_a_run_that_goes_on_keeps_its_teacher_and_records_a_first_one(taught, base):
    """Another one was told as a change and not taken; one that came at a resume not recorded."""
    root, overrides = base
    start = {**overrides, "init_from": taught, "workdir": root / "later", "num_steps": 2}
    assert train("v5", start).returncode == 0
    start |= {**TAUGHT, "num_steps": 3}
    assert train("v5", start).returncode == 0
    assert layout.record(root / "later")["teacher"]["path"] == str(root / "base")
    end = train("v5", {**start, "num_steps": 4, "objective.teacher": "parent"})
    assert end.returncode == 2
    assert "objective.teacher is parent, but the run at" in end.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.replay_ratio": 0.0}, "data.replay_ratio is 0"),
        ({"init_from": "scratch"}, "wants a teacher"),
        ({"objective.replay_weight": -1.0}, "objective.replay_weight"),
    ],
)
def test_a_teacher_that_cannot_teach_is_one_line(base, tmp_path, changes, words):
    _, overrides = base
    end = train("v3", {**overrides, **TAUGHT, "workdir": tmp_path / "v3", **changes})
    assert end.returncode == 2 and words in end.stderr.splitlines()[-1]
    assert not (tmp_path / "v3").exists()


def test_a_teacher_that_is_gone_is_one_line(taught, base, tmp_path):
    root, overrides = base
    shutil.copytree(taught, tmp_path / "v3")
    (root / "base").rename(root / "away")
    try:
        start = {**overrides, **TAUGHT, "init_from": tmp_path / "v3", "workdir": tmp_path / "v5"}
        end = train("v5", start)
    finally:
        (root / "away").rename(root / "base")
    assert end.returncode == 2 and "bring it back" in end.stderr.splitlines()[-1]
    assert not (tmp_path / "v5").exists()


def test_a_lineage_that_was_moved_is_measured_and_taught_as_before(taught, base, tmp_path):
    """Base, parent and child in another place: forgetting, drift and the teacher are the base's."""
    root, overrides = base
    more = {**TAUGHT, "eval.drift": "end", "num_steps": 2, "checkpoint.keep_optimizer": True}
    first = {**overrides, **more, "init_from": taught, "workdir": root / "v5"}
    assert train("v5", first).returncode == 0
    root.rename(tmp_path / "moved")
    try:
        moved = {"init_from": tmp_path / "moved/v3", "workdir": tmp_path / "moved/v5"}
        longer = train("v5", {**first, **moved, "num_steps": 4})
        fresh = train("v7", {**first, **moved, "workdir": tmp_path / "v7"})
    finally:
        (tmp_path / "moved").rename(root)
    for end in (longer, fresh):
        assert end.returncode == 0, end.stderr
        assert "not measured" not in end.stdout and "general drift 0." in end.stdout
    assert layout.record(tmp_path / "v7")["teacher"]["path"] == str(tmp_path / "moved/base")
