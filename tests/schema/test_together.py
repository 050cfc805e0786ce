"""Keys that depend on each other: one that was typed and changes nothing is told."""

import inspect

import pytest

from configs import base
from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.schema import overrides, together


def told(*flags: str) -> list[str]:
    given = overrides.read(["--config=configs/adapt.py:tiny", *(f"--config.{f}" for f in flags)])
    lines = together.without_effect(given.config, given.overridden)
    return [line.removeprefix("warning: ").partition(" ")[0] for line in lines]


@pytest.mark.parametrize(
    "idle, needed",
    [
        ("objective.limit_on=drift", "objective.max_forgetting=0.01"),
        ("adapter.alpha=8", "adapter.rank=4"),
        ("adapter.matrices=up", "adapter.rank=4"),
        ("model.rope_theta=5e5", "model.position=rope"),
        ("log.wandb_project=mine", "log.trackers=wandb"),
        ("model.init=torch", "init_from=scratch"),
    ],
)
def test_what_was_typed_and_changes_nothing_is_told(idle, needed):
    assert told(idle) == [idle.partition("=")[0]]
    assert told(idle, needed) == []
    assert told() == told(needed) == []


def test_a_step_that_is_gone_back_to_holds_no_limit():
    given = overrides.read(["--config=configs/adapt.py:tiny"]).config
    given["objective"]["max_forgetting"] = 0.01
    together.check_objective(given, set())
    given["guard"]["action"] = "rollback"
    with pytest.raises(UserError, match="guard.action=rollback takes an earlier step"):
        together.check_objective(given, set())


def test_a_mixture_names_its_own_data():
    typed = ("data.domain=mine", "data.general_weights=(1,)")
    assert told(*typed) == []
    assert told(*typed, "data.mixture=view") == ["data.domain", "data.general_weights"]


def test_a_weight_and_a_teacher_want_an_objective_that_has_one():
    typed = ("objective.replay_weight=5", "objective.teacher=parent")
    assert told(*typed) == []
    assert told(*typed, "objective.replay=ce") == ["objective.replay_weight", "objective.teacher"]


@pytest.mark.parametrize("kind", ["optimizer", "schedule"])
def test_every_key_that_some_optimizers_or_schedules_lack_is_in_the_table(kind):
    table = {"optimizer": optim.OPTIMIZERS, "schedule": optim.SCHEDULES}[kind]
    keys = base.get_config("tiny").optim.keys()
    taken = {name: {*inspect.signature(one).parameters} & {*keys} for name, one in table.items()}
    anyone = set().union(*taken.values()) - {"peak_lr", "warmup_steps"}  # all: their warmup
    for name, own in taken.items():
        typed = [f"optim.{key}=0.5" for key in sorted(anyone)]
        lacking = {f"optim.{key}" for key in anyone - own}
        assert {*told(f"optim.{kind}={name}", *typed)} == lacking, name
