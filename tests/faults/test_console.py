"""A run whose console ends goes on without it: row 65 of docs/reliability.md."""

import errno
import os
import pty
import signal

import pytest

from faults.conftest import assert_equal_runs, valid_steps
from mypt_jax.runs import layout

SLOW = {"slow_steps": {"secs": 0.1}}


def read_until(descriptor: int, text: str) -> None:
    seen = b""
    while text.encode() not in seen:
        try:
            data = os.read(descriptor, 4096)
        except OSError as error:
            data = b"" if error.errno == errno.EIO else None
        assert data, seen.decode()
        seen += data


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_a_reader_that_ends_ends_nothing(start, undisturbed, tmp_path, where):
    """`| head -25`, a dead `tee`; a closed terminal, with the signal that it sends."""
    if where == "pipe":
        os.mkfifo(tmp_path / "pipe")
        console, reader = tmp_path / "pipe", os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
    else:
        reader, slave = pty.openpty()
        console = os.ttyname(slave)
    workdir = tmp_path / "base"
    trainer = start(workdir, faults=SLOW, console=console)
    if where == "pipe":
        # A pipe without a writer is at its end.
        trainer.wait_until((workdir / "config.json").exists, "the run to start")
    read_until(reader, "step 2/")
    os.close(reader)
    if where == "terminal":
        os.close(slave)
    assert trainer.wait() == 0
    assert_equal_runs(workdir, undisturbed)


@pytest.mark.parametrize("how", ["closed", "full"])
def test_a_console_that_takes_nothing(start, undisturbed, tmp_path, how):
    """`>&- 2>&-`; a full disk behind `> file`."""
    more = {"faults": {"closed_console": {}}} if how == "closed" else {"console": "/dev/full"}
    trainer = start(tmp_path / "base", **more)
    assert trainer.wait() == 0
    assert_equal_runs(tmp_path / "base", undisturbed)


def test_a_second_signal_without_a_console_leaves_at_once(start, tmp_path):
    """What a thread prints there must not end the thread."""
    workdir = tmp_path / "base"
    faults = {"closed_console": {}, "hang_at": {"step": 6}}
    trainer = start(workdir, faults=faults, watchdog_secs=0)
    trainer.wait_until(
        lambda: valid_steps(workdir) and layout.metrics(workdir)[-1]["step"] == 5, "step 5"
    )
    trainer.send(signal.SIGTERM)
    trainer.send(signal.SIGINT)
    assert trainer.wait() == 75
