"""The forgetting guard in real runs (point 5.4 of docs/reliability.md)."""

import json

import pytest

from faults.conftest import unmeasured
from mypt_jax.runs import layout

# Domain text only, at a rate that rises until it ruins what base has learned.
RUIN = {
    "data.replay_ratio": 0.0,
    "optim.peak_lr": 0.3,
    "optim.warmup_steps": 12,
    "eval.every_steps": 2,
    "checkpoint.keep_optimizer": False,
}


@pytest.fixture(scope="module")
def warned(zygote, overrides, undisturbed, tmp_path_factory):
    """(overrides, rows) of a run that is only warned."""
    settings = {
        **overrides,
        **RUIN,
        "init_from": undisturbed,
        "workdir": tmp_path_factory.mktemp("warned") / "v3",
    }
    trainer = zygote.start("v3", {**settings, "guard.action": "warn"})
    assert trainer.wait() == 0, trainer.stderr
    return settings, layout.metrics(settings["workdir"])


@pytest.fixture(scope="module")
def limit(warned) -> tuple[float, int]:
    """(a limit, the step of the first evaluation above it), with saved ones below."""
    _, rows = warned
    rows = [row for row in rows if row["step"] > 0 and "forgetting/percent" in row]
    highest = rows[0]["forgetting/percent"]
    for row in rows[1:]:
        sure = 100 * 2 * row["forgetting/stderr"] / row["forgetting/base_loss"]
        if row["forgetting/percent"] - sure > max(highest, 0.01) + 0.01:
            between = (row["forgetting/percent"] - sure + max(highest, 0.01)) / 2
            return between / 100, row["step"]
        highest = max(highest, row["forgetting/percent"])
    pytest.fail(f"nothing was forgotten: {rows}")


def test_warn_goes_on_and_says_so(warned):
    settings, rows = warned
    assert layout.finished(settings["workdir"])["step"] == 12
    assert rows[-1]["guard/action"] in ("", "warn")
    assert rows[-1]["forgetting/parent_nats"] == pytest.approx(rows[-1]["forgetting/nats"])


def test_stop_stops_again_and_again(zygote, warned, limit, tmp_path):
    """Exit 3 at the first evaluation above the limit; another start decides by its own config."""
    settings = {**warned[0], "workdir": tmp_path / "v3", "guard.max_forgetting": limit[0]}
    trainer = zygote.start("v3", settings)
    assert trainer.wait() == 3, trainer.stderr
    assert f"step {limit[1]}: forgetting" in trainer.last_line
    rows = unmeasured(settings["workdir"])
    assert rows[-1]["step"] == limit[1] and rows[-1]["guard/action"] == "stop"
    again = zygote.start("v3", settings)
    assert again.wait() == 3
    assert unmeasured(settings["workdir"]) == rows
    notes = json.loads((tmp_path / "v3" / "lineage.json").read_text())["notes"]
    assert len(notes) == 1 and notes[0].startswith("guard stop: step")
    assert zygote.start("v3", {**settings, "guard.action": "warn"}).wait() == 0


@pytest.mark.full
def test_rollback_ends_inside_the_budget_and_can_be_a_parent(zygote, warned, limit, tmp_path):
    settings = {**warned[0], "workdir": tmp_path / "v3", "guard.max_forgetting": limit[0]}
    settings["guard.action"] = "rollback"
    trainer = zygote.start("v3", settings)
    assert trainer.wait() == 0, trainer.stderr
    finished = layout.finished(settings["workdir"])
    assert finished["rolled_back_from"] == limit[1]
    assert finished["step"] == limit[1] - 2
    assert layout.steps(settings["workdir"])[-1] == finished["step"]
    assert layout.record(settings["workdir"])["notes"][0].startswith("guard rollback")
    child = {**settings, "init_from": settings["workdir"], "workdir": tmp_path / "v5"}
    child |= {"num_steps": 2, "optim.warmup_steps": 1, "guard.action": "warn"}
    trainer = zygote.start("v5", child)
    assert trainer.wait() == 0, trainer.stderr
    assert layout.record(child["workdir"])["parent"]["step"] == finished["step"]
    assert "step 0 equals the parent's end" in trainer.stdout
