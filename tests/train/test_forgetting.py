"""What the guard measures, and what it makes of a difference that cannot be measured."""

from types import SimpleNamespace

import pytest

from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.train.forgetting import guard
from tests import run_factory


def run(tmp_path, notes: list, **guard) -> SimpleNamespace:
    """What guard.measure asks of a run whose parent is its base."""
    (tmp_path / "base").mkdir(exist_ok=True)
    run_factory.write_evaluation(tmp_path / "base", 10, {"general/a": [2.0, 2.1, 1.9]})
    return SimpleNamespace(
        record={"ancestors": [{"path": str(tmp_path / "base"), "step": 10}]},
        config={"guard": {"action": "stop", "max_forgetting": 0.12, **guard}},
        note=notes.append,
    )


def evaluation(loss_D, text="general/a") -> Evaluation:
    return Evaluation({"general/a": run_factory.measured(loss_D, text)})


def test_the_guard_acts_on_what_both_measured_alike(tmp_path):
    notes = []
    base = evaluation([2.0, 2.1, 1.9])
    row = guard.measure(run(tmp_path, notes), evaluation([2.5, 2.6, 2.4]), base)
    assert row["forgetting/nats"] == pytest.approx(0.5)
    assert row["forgetting/parent_nats"] == pytest.approx(0.5)
    assert row["guard/action"] == "stop" and "since the parent" in notes[0]


def test_without_the_same_windows_there_is_no_figure_and_a_reason(tmp_path):
    notes = []
    found = guard.measure(run(tmp_path, notes), evaluation([9.0], "x"), evaluation([2.0]))
    assert found == {}
    (note,) = notes
    assert "no forgetting, and no guard of it: other windows: general/a" in note
