"""Where losses end: the law finds what it was drawn from, and says nothing of other stages."""

import math

import pytest
import run_factory
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.foretell import law
from mypt_jax.foretell.lineage import Stage, above, to_be, until

BASE = {"domain": 6.0, "general": 5.0}


def _config(**changes) -> dict:
    given = {"num_steps": 64, "optim": {"peak_lr": 3e-4, "warmup_steps": 4}, "batch_size": 8}
    given["data"] = {"replay_ratio": 0.2}
    return run_factory.config(stage="v3", **(given | changes))


def _trained(config: dict, *, before: float, slope: float, knee: float, ratio: float) -> Stage:
    """A stage whose losses follow the law exactly, evaluated at 0, 8, 16, 32 and 64."""
    empty = to_be(config)
    rows = []
    for step in (0, 8, 16, 32, 64):
        total = before + empty.rates_until(step)
        domain = BASE["domain"] - slope * math.log1p(total / knee)
        general = BASE["general"] + ratio * empty.rate * bool(total)
        rows.append({"step": step, **run_factory.evaluation(domain, general)})
    return empty._replace(rows=rows)


@given(
    slope=st.floats(0.1, 1.0),
    knee=st.floats(1e-3, 5e-2),
    rate=st.floats(5e-5, 5e-4),
    seen=st.sampled_from([0, 8, 16, 32]),
)
def test_a_stage_ends_where_the_law_of_its_parent_says(slope, knee, rate, seen):
    first = _trained(_config(), before=0.0, slope=slope, knee=knee, ratio=300.0)
    before = first.rates_until(64)
    config = _config(optim={"peak_lr": rate, "warmup_steps": 2})
    whole = _trained(config, before=before, slope=slope, knee=knee, ratio=300.0)
    known = whole._replace(rows=[row for row in whole.rows if row["step"] <= seen])
    found = law.foretell([first, known], epochs=0.5)
    end = whole.rows[-1]
    assert found["domain"].loss == pytest.approx(end["eval/domain/loss"], abs=2e-3)
    told = found["domain"]
    if not math.isnan(told.low):
        assert told.low <= told.loss <= told.high


def test_a_stage_that_was_not_begun_is_foretold_as_one_at_its_step_0():
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    second = _trained(_config(), before=first.rates_until(64), slope=0.5, knee=1e-2, ratio=300.0)
    begun = second._replace(rows=second.rows[:1])
    planned = law.foretell([first, to_be(_config())], epochs=0.5)
    assert planned == law.foretell([first, begun], epochs=0.5)


def test_general_takes_three_stages_of_about_this_share_of_replay():
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    three = [first, first, first]
    assert "general" not in law.foretell([first, first, to_be(_config())], epochs=0.5)
    found = law.foretell([*three, to_be(_config())], epochs=0.5)["general"]
    assert found.loss == pytest.approx(BASE["general"] + 300 * 3e-4)
    other = to_be(_config(data={"replay_ratio": 0.5}))
    assert "general" not in law.foretell([*three, other], epochs=0.5)


@pytest.mark.parametrize(
    ("changes", "epochs", "said"),
    [
        ({}, 1.5, "read 1.50 times"),
        ({"optim": {"schedule": "wsd"}}, 0.5, "optim.schedule=wsd"),
        ({"optim": {"optimizer": "lion"}}, 0.5, "optim.optimizer=lion"),
        ({"optim": {"moments": "parent"}}, 0.5, "optim.moments=parent"),
        ({"model": {"param_dtype": "bfloat16"}}, 0.5, "model.param_dtype=bfloat16"),
        ({"objective": {"replay": "kl"}}, 0.5, "objective.replay=kl"),
        ({"optim": {"average_ratio": 0.5}}, 0.5, "optim.average_ratio"),
        ({"adapter": {"rank": 8}}, 0.5, "adapter.rank"),
        ({"batch_size": 16}, 0.5, "batches of different sizes"),
    ],
)
def test_nothing_is_foretold_of_a_stage_of_another_kind(changes, epochs, said):
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    with pytest.raises(UserError, match=said):
        law.foretell([first, to_be(_config(**changes))], epochs=epochs)


def test_two_evaluations_are_too_few():
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    short = first._replace(rows=first.rows[:3])
    with pytest.raises(UserError, match="2 evaluations since the base are too few"):
        law.foretell([short, to_be(_config())], epochs=0.5)


@pytest.mark.parametrize("losses", [[6.0] * 5, [6.0, 6.1, 6.2, 6.3, 6.4], [6.0, 6.0, 5.9, 2, 1]])
def test_losses_that_follow_no_curve_warn_nobody(losses):
    """A warning, which tests turn into an error, would stand amidst a run's progress."""
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    rows = [
        {"step": row["step"], **run_factory.evaluation(loss, 5.0)}
        for row, loss in zip(first.rows, losses, strict=True)
    ]
    try:
        found = law.foretell([first._replace(rows=rows), to_be(_config())], epochs=0.5)["domain"]
    except UserError as error:
        assert "follow no curve" in str(error)
    else:
        assert found.loss > 0


def test_a_stage_from_an_earlier_step_is_after_so_many_updates():
    """init_from=PATH@STEP, and what a guard rolled back: not after all that the parent made."""
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    early = first._replace(rows=first.rows[:4], steps=32)
    found = law.foretell([early, to_be(_config())], epochs=0.5)["domain"]
    total = first.rates_until(32) + first.rates_until(64)
    assert found.loss == pytest.approx(BASE["domain"] - 0.5 * math.log1p(total / 1e-2), abs=2e-3)


def test_a_stage_whose_rate_was_changed_under_way_is_not_foretold():
    first = _trained(_config(), before=0.0, slope=0.5, knee=1e-2, ratio=300.0)
    rates = {0: 0.0, 8: 3e-4, 16: 3e-4, 32: 1e-4, 64: 1e-4}
    rows = [{**row, "lr": rates[row["step"]]} for row in first.rows]
    with pytest.raises(UserError, match="not trained at one rate: see its step 32"):
        law.foretell([first._replace(rows=rows), to_be(_config())], epochs=0.5)
    known = [row | {"lr": 3e-4 * min(1, row["step"] / 4)} for row in first.rows]
    assert law.foretell([first._replace(rows=known), to_be(_config())], epochs=0.5)


def test_ancestors_are_as_they_were_when_the_next_stage_began(tmp_path):
    """The parent was trained longer since, and its config says so."""
    ends = {"start": (6.0, 5.0), "final": (5.0, 5.1)}
    run_factory.write_run(tmp_path, "base", parent=None, **ends)
    run_factory.write_run(tmp_path, "v3", parent="base", num_steps=40, **ends)
    (stage,) = until(str(tmp_path / "v3"), 20)
    assert stage.steps == 20 and max(row["step"] for row in stage.rows) <= 20
    own = {"path": str(tmp_path / "v3"), "step": 20, "params_sha256": "", "merged_from": [{}]}
    with pytest.raises(UserError, match="v3 is a sum of runs, and was not trained"):
        above([{}, own])
