"""Another version of JAX at resume: row 30 of docs/reliability.md."""

import importlib.metadata
import os
import signal
import subprocess

import numpy as np
import pytest
from conftest import ROOT, command

from faults.conftest import final_losses, valid_steps
from mypt_jax.runs import layout

OTHER = os.environ.get("MYPT_OTHER_PYTHON", "")


@pytest.mark.full
@pytest.mark.skipif(not OTHER, reason="MYPT_OTHER_PYTHON names no interpreter with another jax")
def test_a_run_goes_on_with_another_jax(start, overrides, undisturbed, tmp_path):
    """Row 30: started by this jax, finished by that of $MYPT_OTHER_PYTHON, and the way back."""
    workdir = tmp_path / "base"
    trainer = start(workdir, faults={"slow_steps": {"secs": 0.25}})
    trainer.wait_for_step(5)
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 75
    saved = valid_steps(workdir)[-1]
    ours = importlib.metadata.version("jax")
    code = "import importlib.metadata; print(importlib.metadata.version('jax'))"
    theirs = subprocess.run([OTHER, "-c", code], capture_output=True, text=True, check=True)
    theirs = theirs.stdout.strip()
    assert theirs != ours
    finish = [OTHER, *command("base", {**overrides, "workdir": workdir})[1:]]
    done = subprocess.run(finish, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = f"numerics changed at step {saved} (jax: {ours} -> {theirs})"
    assert done.stdout.count(line) == 1, done.stdout
    record = layout.record(str(workdir))
    assert record["numerics"]["jax"] == theirs
    assert [note for note in record["notes"] if note.startswith(line)]
    # What both compute differs by rounding only; the tolerance is that of docs/reliability.md.
    np.testing.assert_allclose(final_losses(workdir), final_losses(undisturbed), rtol=1e-5)
    # A finished run can be a parent under the older version, too.
    child = start(
        tmp_path / "v3", stage="v3", init_from=workdir, num_steps=2, **{"optim.warmup_steps": 1}
    )
    assert child.wait() == 0, child.stderr
    assert "step 0 equals the parent's end" in child.stdout
