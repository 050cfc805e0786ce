"""What a resumed, a finished and a child's config may change, also against an older version's."""

import json

import pytest

from configs import base, v3
from data_pipeline.errors import UserError
from mypt_jax.runs import layout
from mypt_jax.schema import changes, keys, parents, tree


def values(stage=base) -> dict:
    return tree.plain(stage.get_config("tiny").to_dict())


def recorded(config: dict, without: tuple[str, ...] = ()) -> dict:
    """The config of a run that was started without some keys, as it comes back."""
    kept: dict = {}
    for name, value in tree.flat(config).items():
        if name not in without:
            tree.put(kept, name, value)
    return tree.completed(json.loads(json.dumps(kept)))


def changed(config: dict, **values) -> dict:
    config = tree.plain(config)
    for name, value in values.items():
        tree.put(config, name.replace("__", "."), value)
    return config


def of_finished(recorded: dict, config: dict) -> dict:
    return changes.between(recorded, config, keys.ARCHITECTURE, keys.TRAINING)


def test_the_same_is_no_change():
    assert of_finished(recorded(values()), values()) == {}
    assert changes.at_resume(recorded(values()), values()) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulation_steps", 4),
        ("guard__skip_spikes", True),
        ("optim__peak_lr", 1.0),
        ("seed", 3),
        ("model__n_layer", 9),
        ("model__compute_dtype", "bfloat16"),
    ],
)
def test_what_decides_the_result_is_told_of_a_finished_run(name, value):
    found = of_finished(recorded(values()), changed(values(), **{name: value}))
    assert list(found) == [name.replace("__", ".")]
    with pytest.raises(
        UserError, match=f"is finished .step 9., with {list(found)[0]}: .* -> {value};"
    ):
        changes.check_finished(recorded(values()), changed(values(), **{name: value}), step=9)


def test_where_and_how_fast_a_run_runs_is_no_change():
    now = changed(values(), log__every_steps=3, model__remat="full", mesh__data=2, workdir="x")
    assert of_finished(recorded(values()), now) == {}
    assert changes.at_resume(recorded(values()), now) == {}


def test_a_resumed_run_keeps_its_parameters_and_parent_and_tells_the_rest():
    found = changes.at_resume(
        recorded(values()), changed(values(), optim__peak_lr=1.0, eval__windows=7)
    )
    assert found == {"optim.peak_lr": (1e-3, 1.0), "eval.windows": (128, 7)}
    for name, value in (("model__n_embd", 64), ("init_from", "runs/tiny/other")):
        with pytest.raises(UserError, match="was started with .*wants another --config.workdir"):
            changes.at_resume(recorded(values()), changed(values(), **{name: value}))


OLD = tuple(row.name for row in keys.ROWS if row.absent is not keys.REQUIRED)


@pytest.mark.parametrize("name, value", [("optim.moments", "parent"), ("model.init", "torch")])
def test_what_is_read_once_is_not_told_as_changed(name, value):
    """A run that goes on never asks for it again."""
    with pytest.raises(UserError, match=f"{name} is {value}, but the run at .* was started with"):
        changes.at_resume(recorded(values()), changed(values(), **{name.replace(".", "__"): value}))


def test_what_a_finished_run_is_too_late_for():
    now = changed(values(), eval__windows=7, checkpoint__keep_last=9, log__every_steps=3)
    changes.check_finished(recorded(values()), now, step=9)
    found = changes.without_effect(recorded(values()), now)
    assert changes.shown(found) == "eval.windows: 128 -> 7; checkpoint.keep_last: 2 -> 9"


def test_more_steps_are_asked_for_unless_the_guard_took_some_back():
    more = changed(values(), num_steps=300)
    assert changes.asks_for_more({"step": 246}, more)
    assert not changes.asks_for_more({"step": 246}, values())
    assert not changes.asks_for_more({"step": 240, "rolled_back_from": 246}, values())


def test_secrets_are_masked_on_both_sides():
    now = changed(values(), data__mixture="s3://user:password@host/a")
    was = recorded(changed(values(), data__mixture="s3://[redacted]@host/a"))
    assert of_finished(was, now) == {}


def test_a_key_that_did_not_exist_is_compared_with_what_its_run_had():
    was = changed(values(), **{n.replace(".", "__"): keys.BY_NAME[n].absent for n in OLD})
    old = recorded(was, without=OLD)
    assert of_finished(old, was) == {} and changes.at_resume(old, was) == {}
    assert of_finished(old, changed(was, model__n_kv_head=2)) == {"model.n_kv_head": (0, 2)}
    parents.check_architecture(old, changed(was, init_from="a"), path="a")
    with pytest.raises(UserError) as refused:
        parents.check_architecture(old, changed(was, model__n_kv_head=2), path="runs/a")
    assert "(--config.model.n_kv_head=0)" in str(refused.value)
    assert "None" not in str(refused.value)


def test_a_record_without_what_every_run_has_is_damaged():
    with pytest.raises(UserError, match="config.json has no model.n_layer: damaged"):
        of_finished(recorded(values(), without=("model.n_layer",)), values())


def test_a_child_keeps_the_architecture_and_may_cast_where_it_says_so():
    parent, child = recorded(values()), values(v3)
    parents.check_architecture(parent, child, path="runs/a")
    narrow = changed(child, model__param_dtype="bfloat16")
    with pytest.raises(UserError, match="model.param_dtype is bfloat16, but the parent runs/a"):
        parents.check_architecture(parent, narrow, path="runs/a")
    parents.check_architecture(parent, changed(narrow, checkpoint__allow_cast=True), path="runs/a")


def test_another_architecture_than_that_of_a_parent_yet_to_be_trained_is_refused():
    """When the parent had been trained, it was too late."""
    with pytest.raises(UserError, match="model.n_kv_head is 2, but the parent runs/a has 0"):
        parents.check_planned(values(), changed(values(v3), model__n_kv_head=2), path="runs/a")


@pytest.mark.parametrize("is_begun", [False, True])
def test_moments_of_a_parent_that_will_keep_none_are_refused(is_begun, monkeypatch):
    """When the parent had been trained, it was too late."""
    monkeypatch.setattr(layout, "steps", lambda workdir: [2] if is_begun else [])
    child = changed(values(v3), optim__moments="parent")
    keeps = changed(values(), checkpoint__keep_optimizer=True)
    parents.check_planned(keeps, child, path="runs/a")
    parents.check_planned(values(), values(v3), path="runs/a")
    if is_begun:
        parents.check_planned(values(), child, path="runs/a")
        return
    with pytest.raises(UserError, match="runs/a will keep no optimizer state.*keep_optimizer=True"):
        parents.check_planned(values(), child, path="runs/a")


def test_text_that_nothing_is_trained_on_makes_no_other_model():
    """The guide trains base before the domain is there; a stage of the domain is another matter."""
    kept = recorded(values())
    now = changed(values(), data__domain=("data/late",))
    changes.check_finished(kept, now, step=9)
    assert "data.domain" in changes.without_effect(kept, now)
    for stage, name in ((base, "data__general"), (v3, "data__domain"), (v3, "data__general")):
        with pytest.raises(UserError, match=name.replace("__", ".")):
            changes.check_finished(
                recorded(values(stage)), changed(values(stage), **{name: ("data/late",)}), step=9
            )


@pytest.mark.parametrize("name, value", [("optimizer", "lion"), ("average_ratio", 0.5)])
def test_a_state_with_other_parts_is_another_run_s(name, value, monkeypatch):
    """The first of its arrays was named, which says nothing of the key that was typed."""
    monkeypatch.setattr(layout, "steps", lambda workdir: [4, 8])
    monkeypatch.setattr(layout, "has_optimizer", lambda workdir, step: step == 8)
    was, now = values(), changed(values(), **{f"optim__{name}": value})
    with pytest.raises(UserError, match=f"optim.{name} is {value}, but the run at .* was started"):
        changes.at_resume(recorded(was), now)
    monkeypatch.setattr(layout, "has_optimizer", lambda workdir, step: False)
    if name == "optimizer":  # from parameters alone any may go on
        assert list(changes.at_resume(recorded(was), now)) == ["optim.optimizer"]
