"""Saves into a directory that several processes see: each writes and vouches for its own part."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import saves_worker
from conftest import ROOT
from several_processes import ends, free_port

from mypt_jax import exits
from mypt_jax.checkpoint import save
from mypt_jax.distributed import sharding
from mypt_jax.runs import integrity, layout


def start(directory: Path, *arguments: str) -> list[tuple[int, str, str]]:
    port = str(free_port())
    program = [sys.executable, "tests/saves_worker.py", port]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return ends(
        [
            subprocess.Popen(
                [*program, str(index), str(directory), *arguments],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ],
        timeout=120,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, list[dict]]:
    """(the run's directory, what each of two processes told)."""
    directory = tmp_path_factory.mktemp("run")
    told = []
    for code, out, err in start(directory):
        assert code == 0, err[-3000:]
        told.append(json.loads(out.splitlines()[-1]))
    return directory, told


def written_by(step: Path, process: int) -> list[Path]:
    files = step.glob(f"*/ocdbt.process_{process}/**/*")
    return [path for path in files if path.is_file()]


def test_each_process_writes_what_it_holds_and_no_more(saved):
    directory, told = saved
    step = Path(layout.step_dir(str(directory), 1))
    for process, of in enumerate(told):
        size = sum(path.stat().st_size for path in written_by(step, process))
        assert 0 < size < 1.2 * of["bytes"]
        assert of["apart"]  # a directory of its own is no common one
    # Of what all of them hold one writes, or each a part.
    assert told[1]["bytes"] == 2 * saves_worker.ROWS * saves_worker.COLUMNS * 4 // 2


def test_one_process_restores_what_two_saved_on_another_mesh(saved):
    directory, _ = saved
    want = saves_worker.state_of(sharding.make_mesh((1, 1, 1), jax.devices()[:1]))
    checkpointer = save.Checkpointer(str(directory), keep=set)
    assert checkpointer.newest_valid(fallback=False) == (1, [])
    found, meta = checkpointer.restore(1, want)
    checkpointer.close()
    assert meta["step"] == 1
    jax.tree.map(np.testing.assert_array_equal, found, want)


@pytest.mark.parametrize("process", [0, 1])
def test_a_bit_that_flips_in_any_part_is_found(saved, process):
    step = Path(layout.step_dir(str(saved[0]), 1))
    path = max(written_by(step, process), key=lambda path: path.stat().st_size)
    before = path.read_bytes()
    path.write_bytes(before[:100] + bytes([before[100] ^ 1]) + before[101:])
    try:
        assert f"ocdbt.process_{process}" in integrity.fault(str(step))
    finally:
        path.write_bytes(before)
    assert not integrity.fault(str(step))


def test_a_process_that_is_lost_in_a_save_leaves_the_step_before(tmp_path):
    (code, out, err), other = start(tmp_path, "lost")
    assert (code, other[0]) == (0, 9), err[-3000:]
    ended = json.loads(out.splitlines()[-1])["ended"]
    assert ended.startswith("LostPeer") and "write their part of a save" in ended
    step, reasons = save.Checkpointer(str(tmp_path), keep=set).newest_valid(fallback=False)
    assert step == 1 and reasons == ["step 2: its save did not finish"]


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (TimeoutError("Timed out while waiting for async_commit_complete barrier."), "LostPeer"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "StorageFailure"),
    ],
)
def test_a_barrier_that_nobody_comes_to_is_no_fault_of_the_disk(tmp_path, error, end):
    """What Orbax makes of a process that is gone, process 0 included."""

    def wait():
        raise error

    saver = save.Checkpointer(str(tmp_path), keep=set)
    saver._together, saver._orbax.wait_until_finished = True, wait
    saver._commit(str(tmp_path), {})
    with pytest.raises(getattr(exits, end)):
        saver.poll()


def test_a_file_that_only_another_process_sees_is_no_part_of_a_step(tmp_path):
    with pytest.raises(OSError, match="params/a, which another process wrote, is not in"):
        integrity.write_manifest(str(tmp_path), {"params/a": {"bytes": 1, "sha256": ""}})
    assert not integrity.is_committed(str(tmp_path))
