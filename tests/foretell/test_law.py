"""Where losses end: the law finds what it was drawn from, and says nothing of other stages."""

import math

import pytest
import run_factory
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.foretell import law
from mypt_jax.foretell.lineage import Stage, to_be
from mypt_jax.runs import evaluations

BASE = {"domain": 6.0, "general": 5.0}


def _config(**changes) -> dict:
    given = {"num_steps": 64, "optim": {"peak_lr": 3e-4, "warmup_steps": 4}, "batch_size": 8}
    given["data"] = {"replay_ratio": 0.2}
    return run_factory.config(stage="v3", **(given | changes))


def _trained(config: dict, *, before: float, slope: float, knee: float, ratio: float) -> Stage:
    """A stage whose losses follow the law exactly, evaluated at 0, 8, 16, 32 and 64."""
    empty = Stage(config, (), evaluations.Evaluation({}))
    rows = []
    for step in (0, 8, 16, 32, 64):
        total = before + empty.rates_until(step)
        domain = BASE["domain"] - slope * math.log1p(total / knee)
        general = BASE["general"] + ratio * empty.rate * bool(total)
        rows.append({"step": step, **run_factory.evaluation(domain, general)})
    return Stage(config, rows, evaluations.Evaluation({}))


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
