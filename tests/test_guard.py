"""What the guards decide, from numbers."""

import math

import pytest

from configs import base
from mypt_jax import exits, guide
from mypt_jax.monitor import step_guard


def steps(**changes) -> step_guard.StepGuard:
    settings = dict(max_nonfinite_steps=3, spike_sigma=6.0, spike_window=4, skip_spikes=False)
    return step_guard.StepGuard(**{**settings, **changes})


@pytest.mark.parametrize(
    ("share", "word"),
    [
        (-0.02, "excellent preservation"),
        (0.0103, "excellent preservation"),
        (0.0552, "good preservation"),
        (0.0776, "acceptable for a domain model"),
        (0.1225, "beyond the guide's runs"),
        (0.13, "catastrophic forgetting risk"),
        (0.16, "catastrophic forgetting risk, usually not worth it"),
    ],
)
def test_the_guides_words(share, word):
    assert guide.verdict(share) == word


def test_the_guides_base_gives_the_guides_thresholds():
    limits = [limit for limit, _ in guide.VERDICTS]
    assert [round(2.227 * (1 + limit), 2) for limit in limits] == [2.25, 2.35, 2.40, 2.50]
    assert base.get_config("tiny").guard.max_forgetting == limits[-1]
    assert [guide.percent(limit) for limit in limits] == ["1.03 %", "5.52 %", "7.77 %", "12.3 %"]


@pytest.mark.parametrize(
    ("loss", "stderr", "wanted", "words"),
    [
        (2.51, 0.0, "stop", "limit 12 %"),  # 12.6 %
        (2.51, 0.01, "warn", "over the guide's 7.77 %"),  # 0.0124 above: within two standard errors
        (2.51, 0.005, "stop", "limit 12 %"),
        (2.51, math.nan, "stop", "limit 12 %"),  # an unknown error counts as none
        (2.49, 0.0, "warn", "over the guide's 7.77 %"),
        (2.36, 0.0, "warn", "over the guide's 5.52 %"),
        (2.36, 0.004, "warn", "over the guide's 1.03 %"),
        (2.26, 0.0, "warn", "over the guide's 1.03 %"),
        (2.26, 0.004, "", "excellent preservation"),  # 0.007 above 1.03 %
        (2.24, 0.0, "", "excellent preservation"),
    ],
)
def test_over_a_limit_means_by_two_standard_errors(loss, stderr, wanted, words):
    action, line = guide.judge(
        loss=loss, baseline_loss=2.23, stderr=stderr, action="stop", max_forgetting=0.12
    )
    assert action == wanted
    assert "2.2300 nats/token" in line and (words in line or not wanted)


def test_three_in_a_row_and_not_three_in_all():
    guarded = steps()
    for step in range(1, 10):
        bad = step % 3  # two bad ones, then a good one
        guarded.add(step, math.nan if bad else 2.0, 1.0)
    assert guarded.nonfinite_steps == 6
    guarded = steps()
    guarded.add(1, 2.0, math.inf)
    guarded.add(2, math.nan, 1.0)
    with pytest.raises(exits.Divergence, match="3 non-finite steps in a row"):
        guarded.add(3, 2.0, math.nan)


def test_non_finite_values_never_enter_the_statistics():
    guarded = steps()
    for step, loss in enumerate([2.0, math.nan, 2.1, 1.9, math.inf, 2.0, 2.0, 2.0], 1):
        guarded.add(step, loss, 1.0)
    assert guarded.threshold(9) == pytest.approx(1.9833 + 6 * 0.0721, abs=0.06)
    assert math.isfinite(guarded.threshold(9))


def test_the_threshold_is_the_same_after_a_resume():
    """The loop reads losses one step late; a resumed one has them all."""
    losses = [2.0, 2.2, 1.9, 2.1, 2.0, 1.8, 2.3]
    running, seen = steps(), []
    for step, loss in enumerate(losses, 1):
        seen.append(running.threshold(step + 1))  # asked before the loss of `step` is read
        running.add(step, loss, 1.0)
    resumed = steps()
    resumed.restore(running.state())
    assert resumed.threshold(len(losses) + 1) == seen[-1]
    assert math.isinf(steps().threshold(1))


@pytest.mark.parametrize("skips", [False, True])
def test_spikes_are_named(skips):
    guarded = steps(skip_spikes=skips)
    for step in range(1, 8):
        assert guarded.add(step, 2.0 + step % 2 / 10, 1.0) == ""
    line = guarded.add(8, 9.0, 1.0)
    assert "step 8: loss spike 9.0000" in line and ("unchanged" in line) == skips
