"""What the guard measures, and what it makes of a difference that cannot be measured."""

from types import SimpleNamespace

import pytest

from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.train import parent_check
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


def evaluation(loss_D, text="general/a", key="general/a") -> Evaluation:
    return Evaluation({key: run_factory.measured(loss_D, text)})


def test_the_guard_acts_on_what_both_measured_alike(tmp_path):
    notes = []
    base = evaluation([2.0, 2.1, 1.9])
    row = guard.measure(run(tmp_path, notes), evaluation([2.5, 2.6, 2.4]), base)
    assert row["forgetting/nats"] == pytest.approx(0.5)
    assert row["forgetting/parent_nats"] == pytest.approx(0.5)
    assert row["guard/action"] == "stop" and "since the parent" in notes[0]


def test_the_base_s_own_words_are_guarded_beside_general_text(tmp_path):
    """Cross-entropy on replay lowered general loss while the model's own answers were lost."""
    notes: list[str] = []
    spoken = {"text": "behaviour/s", "key": "behaviour/s"}
    before, after = evaluation([1.0, 1.1], **spoken), evaluation([1.4, 1.5], **spoken)
    base = Evaluation({**evaluation([2.0, 2.1]).sources, **before.sources})
    now = Evaluation({**evaluation([1.9, 2.0]).sources, **after.sources})
    row = guard.measure(run(tmp_path, notes), now, base)
    assert row["forgetting/nats"] == pytest.approx(-0.1)
    assert row["behaviour/nats"] == pytest.approx(0.4)
    assert row["guard/action"] == "stop" and guard.is_over(run(tmp_path, []), row)
    assert "behaviour loss 1.4500, base 1.0500" in notes[0]
    alone = guard.measure(run(tmp_path, []), after, before)
    assert "forgetting/nats" not in alone and guard.is_over(run(tmp_path, []), alone)


def test_only_what_is_kept_for_the_report_is_said_to_be(tmp_path):
    """A role too small to be halved has one figure, on which the guard acts."""
    base = Evaluation(evaluation([2.0, 2.1, 1.9]).sources)
    now = evaluation([2.5, 2.6, 2.4]).sources
    kept = {"report/domain/d": run_factory.measured([1.0], "domain/d")}
    row = guard.measure(run(tmp_path, []), Evaluation({**now, **kept}), base)
    assert row["forgetting/nats"] == pytest.approx(0.5)
    assert not [key for key in row if key.startswith("report/")]


def test_new_text_is_one_line_and_no_warning_and_a_lost_record_is_one(tmp_path):
    """Each of five sources of one's own text had a line, and the end was a warning."""
    notes: list[str] = []
    child = run(tmp_path, notes)
    child.record["ancestors"][-1]["eval"] = {"general": 2.0}
    child.record["numerics"], child.config["eval"] = {"platform": "gpu", "deterministic": False}, {}
    child.config["eval"]["parent_tolerance_nats"] = 0.1
    child.parent = SimpleNamespace(path=str(tmp_path / "base"), step=10, record={})
    own = {**evaluation([3.0], "x", "domain/x").sources}
    own |= {f"report/{key}": one for key, one in own.items()}
    parent_check.compare(child, Evaluation(own))
    assert notes == [
        f"domain/x: text that {tmp_path}/base was not measured on, to compare step 0 with"
    ]
    layout_file = tmp_path / "base/eval/step_00000010.npz"
    layout_file.write_bytes(b"PK")
    notes.clear()
    parent_check.compare(child, Evaluation(own))
    assert notes[-1].startswith(f"warning: nothing says that step 0 is {tmp_path}/base")


def test_without_the_same_windows_there_is_no_figure_and_a_reason(tmp_path):
    notes = []
    found = guard.measure(run(tmp_path, notes), evaluation([9.0], "x"), evaluation([2.0]))
    assert found == {}
    (note,) = notes
    assert "no forgetting, and no guard of it: other windows: general/a" in note
