"""Signals and kills in real processes: rows 1 to 5, 8, 10 and 29 of docs/reliability.md."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from faults.conftest import assert_equal_runs, unmeasured, valid_steps
from mypt_jax.runs import layout

SLOW = {"slow_steps": {"secs": 0.25}}


def test_sigterm_resume_sigterm_resume(start, undisturbed, tmp_path):
    """Rows 1, 8, 10: the step at work is saved; stopped and resumed twice, all is equal.

    The second process runs with a clock that was set back and stands still.
    """
    workdir = tmp_path / "base"
    for at, more in ((2, {}), (7, {"clock_jumps_back": {"secs": 3600}})):
        trainer = start(workdir, faults={**SLOW, **more})
        trainer.wait_for_step(at)
        trainer.send(signal.SIGTERM)
        assert trainer.wait() == 75
        assert "SIGTERM: run the same command again to resume" in trainer.last_line
        # Within one step: the one at work, or the one after the row that was seen.
        assert at <= valid_steps(workdir)[-1] <= at + 2
    assert start(workdir).wait() == 0
    assert_equal_runs(workdir, undisturbed)


def test_sigterm_in_an_evaluation(start, undisturbed, tmp_path):
    """Row 2: within one batch; the row of that step is written by the next start."""
    workdir = tmp_path / "base"
    trainer = start(workdir, faults={"slow_evaluation": {"secs": 0.5}})
    trainer.wait_for("step 5/")
    count = trainer.stdout.count("evaluation batch")
    while trainer.stdout.count("evaluation batch") == count and trainer.is_running():
        pass
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 75
    assert trainer.stdout.count("evaluation batch") <= count + 2
    assert valid_steps(workdir)[-1] == 6
    assert [row["step"] for row in layout.metrics(workdir)] == [0, 1, 2, 3, 4, 5]
    assert start(workdir).wait() == 0
    assert_equal_runs(workdir, undisturbed)


def test_a_hangup_that_somebody_sends_is_a_signal_unless_nohup_says_otherwise():
    code = (
        "import os, signal; from mypt_jax.monitor import preemption as interrupt\n"
        "held = interrupt.Interrupts(); held.arm(); os.kill(os.getpid(), signal.SIGHUP)\n"
        "os.kill(os.getpid(), signal.SIGTERM) if IGNORED else None\n"
        "while not held.requested: pass\n"
        "print(held.requested); held.close()"
    )
    for ignored, name in ((False, "SIGHUP"), (True, "SIGTERM")):
        before = "SIG_IGN" if ignored else "SIG_DFL"  # whatever these tests were started by
        script = f"import signal; signal.signal(signal.SIGHUP, signal.{before})\n" + code.replace(
            "IGNORED", str(ignored)
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT
        )
        assert done.stdout.strip() == name, done.stderr


@pytest.mark.parametrize("moment", ["validation", "compilation"])
def test_sigterm_before_the_first_step(start, tmp_path, moment):
    """Row 2: at once, although the main thread is in C and nothing is saved."""
    trainer = start(tmp_path / "base", faults={f"blocked_in_{moment}": {"secs": 60}})
    trainer.wait_for({"validation": "validating", "compilation": "compiling"}[moment])
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 75
    assert "with nothing to save" in trainer.last_line
    assert valid_steps(tmp_path / "base") == []


def test_second_sigint_leaves_at_once(start, undisturbed, tmp_path):
    """Row 3: the first one saves, the second does not wait for it; the older step is intact."""
    workdir = tmp_path / "base"
    trainer = start(workdir, faults={**SLOW, "slow_commit": {"secs": 2}})
    trainer.wait_for_step(6)
    trainer.send(signal.SIGINT)
    while trainer.stdout.count("committing") < 2 or "00000006" in trainer.stdout[-12:]:
        assert trainer.is_running()
    trainer.send(signal.SIGINT)
    assert trainer.wait() == 75
    assert "SIGINT again: leaving at once" in trainer.last_line
    assert valid_steps(workdir)[0] == 4
    assert start(workdir).wait() == 0
    assert_equal_runs(workdir, undisturbed)


def test_time_budget_is_a_signal(start, tmp_path):
    trainer = start(tmp_path / "base", faults=SLOW, time_budget_secs=0.5)
    assert trainer.wait() == 75
    assert "the time budget is used up" in trainer.last_line
    assert valid_steps(tmp_path / "base") != []


def test_killed_at_each_moment_of_a_save(start, undisturbed, tmp_path):
    """Rows 4 and 5: killed while arrays are written, before meta.json, manifest and its rename,
    and while an old step is removed; each start goes on where the last valid step is."""
    workdir = tmp_path / "base"
    for point, step in (
        ("writing arrays", 4),
        ("before meta", 4),
        ("before manifest", 6),
        ("before rename of manifest", 8),
        ("removing", 4),
    ):
        before = valid_steps(workdir)
        trainer = start(workdir, faults={"die_at": {"point": point, "step": step}})
        assert trainer.wait() == -signal.SIGKILL, (point, trainer.stderr)
        lost = {step} if point == "removing" else set()
        assert set(before) - lost <= set(valid_steps(workdir)), point
    final = start(workdir)
    assert final.wait() == 0, final.stderr
    assert_equal_runs(workdir, undisturbed)
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    assert all(name.isdecimal() for name in names), names


@pytest.mark.full
def test_killed_at_random_moments(start, undisturbed, tmp_path):
    """Row 4: scripts/soak.py --kills 25 does it to the whole chain."""
    import random
    import time

    draw = random.Random(4)
    workdir = tmp_path / "base"
    for _ in range(8):
        trainer = start(workdir, faults=SLOW)
        trainer.wait_for("disk:")
        time.sleep(draw.uniform(0.1, 3.0))
        trainer.send(signal.SIGKILL)
        trainer.wait()
    assert start(workdir).wait() == 0
    assert_equal_runs(workdir, undisturbed)


@pytest.mark.full
def test_the_same_run_twice_is_the_same(start, undisturbed, tmp_path):
    """Row 29."""
    workdir = tmp_path / "base"
    assert start(workdir).wait() == 0
    assert unmeasured(workdir) == unmeasured(undisturbed)
    assert_equal_runs(workdir, undisturbed)
