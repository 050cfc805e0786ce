"""Numbers that go wrong: rows 31 to 35 of docs/reliability.md."""

import json
import math

import pytest

from faults.conftest import meta, state_bytes, valid_steps
from mypt_jax.runs import layout

POISON = {
    "nan_at": [4, 14, 15, 16],
    "inf_gradient_at": [6],
    "spike_at": [11],
    "nan_evaluations": [1],
}
SETTINGS = {
    "num_steps": 30,
    "checkpoint.every_steps": 1,
    "checkpoint.keep_last": 20,
    "guard.spike_window": 4,
    "guard.skip_spikes": True,
    "guard.max_nonfinite_steps": 3,
    "compile_cache": "",  # another program
}


@pytest.fixture(scope="module")
def poisoned(zygote, overrides, tmp_path_factory):
    """A NaN loss, an infinite gradient, a spike, a broken evaluation, and three NaNs in a row."""
    workdir = tmp_path_factory.mktemp("poisoned") / "base"
    settings = {**overrides, **SETTINGS, "workdir": workdir}
    trainer = zygote.start("base", settings, faults={"poisoned": POISON})
    trainer.wait()
    return workdir, trainer


def rows(workdir) -> dict[int, dict]:
    return {row["step"]: row for row in layout.metrics(workdir)}


def changed(workdir, before: int, after: int) -> set[str]:
    ours, theirs = state_bytes(workdir, before), state_bytes(workdir, after)
    return {name for name in ours if ours[name] != theirs[name]}


@pytest.mark.parametrize(
    ("step", "count", "column"), [(4, 1, "loss"), (6, 2, "grad_norm")], ids=["nan", "inf"]
)
def test_a_non_finite_step_changes_nothing_but_the_count(poisoned, step, count, column):
    """Rows 31 and 32."""
    workdir, trainer = poisoned
    assert changed(workdir, step - 1, step) == {"['rest']['step']"}
    assert any("kernel" in name for name in changed(workdir, step, step + 1))
    row = rows(workdir)[step]
    assert row[column] is None and row["nonfinite_steps"] == count
    assert f"batch {step - 1} (seed 1337): windows 8 of general/encyclopedia" in trainer.stdout


def test_non_finite_values_stay_out_of_the_statistics(poisoned):
    """Row 32."""
    losses = meta(poisoned[0], 13)["guard"]["losses"]
    assert {4, 6} & {step for step, _ in losses} == set()
    assert all(math.isfinite(loss) for _, loss in losses)


def test_a_spike_is_logged_and_skipped_when_asked(poisoned):
    """Row 34."""
    workdir, trainer = poisoned
    assert "step 11: loss spike" in trainer.stdout
    assert changed(workdir, 10, 11) == {"['rest']['step']"}


def test_an_evaluation_that_is_not_finite_is_null(poisoned):
    """Row 35."""
    workdir, _ = poisoned
    assert rows(workdir)[6]["eval/general/loss"] is None
    assert rows(workdir)[12]["eval/general/loss"] > 0
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_too_many_in_a_row_end_the_run(poisoned):
    """Row 33: the steps before are kept, with the last good parameters."""
    workdir, trainer = poisoned
    assert trainer.wait() == 4
    assert "step 16: 3 non-finite steps in a row" in trainer.last_line
    assert "batch 15 (seed 1337)" in trainer.last_line
    assert valid_steps(workdir)[-1] == 15
    assert changed(workdir, 13, 15) == {"['rest']['step']"}


@pytest.mark.full
def test_a_run_that_diverged_diverges_again(zygote, overrides, poisoned):
    """Row 33: nothing is forgotten about the steps before the stop."""
    settings = {**overrides, **SETTINGS, "workdir": poisoned[0]}
    trainer = zygote.start("base", settings, faults={"poisoned": POISON})
    assert trainer.wait() == 4
    assert "step 16: 3 non-finite steps in a row" in trainer.last_line
