"""A run in a bucket has one owner, whichever machine it starts on (5.5 of docs/reliability.md)."""

import signal
import time

import pytest
from bucket_emulator import emulator
from conftest import ROOT

from faults.conftest import assert_equal_runs
from mypt_jax.storage import bucket

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # of clients and emulators

# A fifth of a lease's real times; a renewal here is two requests to the emulator.
TIMES = {"renew_secs": 4.0, "stale_secs": 24.0}


@pytest.fixture(params=["gs", "s3"])
def machines(request, start, tmp_path, monkeypatch):
    """machines(name, url, faults) -> Trainer in a directory of its own, under that host name."""
    for module in ("fsspec", "gcsfs", "s3fs", "moto", "gcp_storage_emulator"):
        pytest.importorskip(module)
    with emulator(request.param) as (url, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        def begin(name, faults=None):
            (tmp_path / name).mkdir(exist_ok=True)
            return start(
                f"{url}/runs/base",
                stage=f"{ROOT}/configs/base.py:tiny",
                directory=tmp_path / name,
                environment=environment,
                faults={"lease_times": {**TIMES, "host": name}, **(faults or {})},
            )

        begin.url = f"{url}/runs/base"
        yield begin


def objects(url: str) -> dict[str, bytes]:
    """What the bucket holds of the run."""
    files = bucket.Bucket(url)
    return {name: files.read(name) for name in files.objects()}


def test_a_second_machine_is_refused_then_takes_over_and_the_frozen_loser_writes_nothing(
    machines, undisturbed, tmp_path
):
    go_on = tmp_path / "go on"
    first = machines("one", faults={"wait_at": {"step": 6, "path": str(go_on)}})
    first.wait_for("waiting")
    refused = machines("two")
    assert refused.wait() == 7, refused.stderr
    assert f"process {first.pid} on one works on this run" in refused.last_line
    first.send(signal.SIGSTOP)
    frozen = time.monotonic()
    while True:  # as a supervisor would: again until it is free
        second = machines("two")
        if second.wait() != 7:
            break
        time.sleep(1)
    assert time.monotonic() - frozen >= TIMES["stale_secs"] - TIMES["renew_secs"]
    assert second.wait() == 0, second.stderr
    assert f"took over the run from process {first.pid} on one" in second.stdout
    assert "resumed" in second.stdout
    before = objects(machines.url)
    go_on.touch()
    first.send(signal.SIGCONT)
    assert first.wait() == 7, first.stderr
    assert "this process stops before it writes" in first.last_line
    assert objects(machines.url) == before
    copy = tmp_path / "copy"
    for name, data in before.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    assert_equal_runs(copy, undisturbed)


def test_a_machine_that_was_killed_is_followed_by_itself_at_once(machines):
    first = machines("one", faults={"slow_steps": {"secs": 0.5}})
    first.wait_for_step(6)
    first.send(signal.SIGKILL)
    first.wait()
    second = machines("one")
    assert second.wait() == 0, second.stderr
    assert f"took over the run from process {first.pid} on one" in second.stdout
