"""Several processes and several devices: rows 22, 23, 54, 55, 56 of docs/reliability.md."""

import math
import re
import signal
import socket

import numpy as np
import pytest
from conftest import QUICK_COMPILE

from faults.conftest import final_losses, valid_steps
from mypt_jax.runs import layout

pytestmark = pytest.mark.full

SLOW = {"slow_steps": {"secs": 0.3}}


@pytest.fixture
def pair(start):
    """Starts two processes of one run; more settings of the second one are in `second`."""

    def begin(workdir, second=None, faults=None, **more):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {
            "distributed.coordinator": f"127.0.0.1:{port}",
            "distributed.num_processes": 2,
            "distributed.timeout_secs": 30,
            **more,
        }
        return [
            start(
                workdir,
                faults={**SLOW, **(faults or {})},
                **{**settings, **(second or {} if index else {})},
                **{"distributed.process_id": index},
            )
            for index in range(2)
        ]

    return begin


def test_a_signal_to_one_stops_both_at_the_same_step(pair, start, undisturbed, tmp_path):
    """Rows 55 and 23: one process goes on where two were, with the same data order."""
    workdir = tmp_path / "base"
    first, second = pair(workdir)
    first.wait_for_step(3)
    second.send(signal.SIGTERM)
    seen = int(re.findall(r"^step (\d+)/", first.stdout, re.M)[-1])
    assert [first.wait(), second.wait()] == [75, 75], first.stderr + second.stderr
    # The row of the step before the one at work is what was seen last; an answer takes a step.
    assert seen <= valid_steps(workdir)[-1] <= seen + 3
    alone = start(workdir)
    assert alone.wait() == 0, alone.stderr
    assert [row["step"] for row in layout.metrics(workdir)] == list(range(13))
    np.testing.assert_allclose(final_losses(workdir), final_losses(undisturbed), rtol=1e-5)


@pytest.mark.parametrize("moment", ["step 2/", "step 3/", "committing"])
def test_a_killed_peer_ends_the_other_one(pair, tmp_path, moment):
    """Row 54: in a step, where a save begins, and in its background part."""
    first, second = pair(tmp_path / "base", faults={"slow_commit": {"secs": 1.0}})
    first.wait_for(moment)
    second.send(signal.SIGKILL)
    assert first.wait() == 7, first.stderr
    # A computation that failed, or a wait that would have had no end: both lines name it.
    gone = r"another process of this run is gone: process 1 \(|process 1 has not been heard of"
    assert re.search(gone, first.last_line), first.stderr


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_peer_ends_the_other_one(pair, tmp_path, frozen):
    """5.5: no computation with it ever returns; the line names it."""
    both = pair(tmp_path / "base", **{"distributed.timeout_secs": 10})
    both[0].wait_for_step(3)
    both[frozen].send(signal.SIGSTOP)
    other = both[1 - frozen]
    assert other.wait() == 7, other.stderr
    assert f"process {frozen}" in other.last_line
    assert "has not been heard of for 10 s" in other.last_line
    both[frozen].send(signal.SIGCONT)
    assert both[frozen].wait() != 0


def test_processes_with_different_configs_are_refused(pair, tmp_path):
    """Row 56."""
    first, second = pair(tmp_path / "base", second={"seed": 5})
    assert [first.wait(), second.wait()] == [2, 2], first.stderr + second.stderr
    assert "seed: 1337 on process 0, 5 on process 1" in first.stderr
    assert not (tmp_path / "base").exists()


def test_eight_devices_four_one_eight(start, undisturbed, tmp_path):
    """Row 22: each start on another mesh; losses within a stated tolerance of one device's."""
    workdir = tmp_path / "base"
    flag = "--xla_force_host_platform_device_count"
    for at, devices in ((2, 8), (5, 4), (8, 1)):
        environment = {"XLA_FLAGS": f"{QUICK_COMPILE} {flag}={devices}"}
        trainer = start(workdir, faults=SLOW, environment=environment)
        trainer.wait_for_step(at)
        trainer.send(signal.SIGTERM)
        assert trainer.wait() == 75, trainer.stderr
        assert math.prod(layout.record(workdir)["numerics"]["mesh"]) == devices
    environment = {"XLA_FLAGS": f"{QUICK_COMPILE} {flag}=8"}
    trainer = start(workdir, environment=environment)
    assert trainer.wait() == 0, trainer.stderr
    np.testing.assert_allclose(final_losses(workdir), final_losses(undisturbed), rtol=1e-5)
