"""Owners, hangs, loaders, secrets: rows 9, 24, 25, 27, 41, 51 to 53, 61 to 63."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from data_pipeline.batches import loader, mixture
from faults.conftest import assert_equal_runs, valid_steps
from mypt_jax.chain import process
from mypt_jax.monitor import goodput
from mypt_jax.runs import layout

SLOW = {"slow_steps": {"secs": 0.3}}


def test_a_second_start_is_refused_and_a_dead_owner_is_followed(start, undisturbed, tmp_path):
    """Row 9, and row 4: the first process is killed without a word."""
    workdir = tmp_path / "base"
    first = start(workdir, faults=SLOW)
    first.wait_for_step(5)
    first.send(signal.SIGSTOP)  # alive, and in no hurry
    second = start(workdir)
    assert second.wait() == 7
    assert f"process {first.pid} on" in second.last_line
    first.send(signal.SIGKILL)
    first.wait()
    third = start(workdir)
    assert third.wait() == 0, third.stderr
    assert f"took over the run from process {first.pid}" in third.stdout
    assert_equal_runs(workdir, undisturbed)
    (lease,) = (workdir / "lease").iterdir()
    assert lease.name == "000002.json" and json.loads(lease.read_text())["released"]


@pytest.mark.full
def test_a_frozen_owner_stops_before_it_writes(start, undisturbed, tmp_path):
    """5.5: two hosts; the frozen one finds out when it wakes up."""
    workdir = tmp_path / "base"
    times = {"renew_secs": 0.3, "stale_secs": 1.5}
    first = start(workdir, faults={**SLOW, "lease_times": {**times, "host": "one"}})
    first.wait_for_step(5)
    first.send(signal.SIGSTOP)
    time.sleep(1.6)
    second = start(workdir, faults={"lease_times": {**times, "host": "two"}})
    second.wait_for("took over the run")
    first.send(signal.SIGCONT)
    assert first.wait() == 7, first.stderr
    assert "on two now: this process stops before it writes" in first.last_line
    assert second.wait() == 0, second.stderr
    assert_equal_runs(workdir, undisturbed)


def test_changed_keys_at_resume(start, datasets, tmp_path):
    """Rows 24, 25, 27: a rate takes effect and is told; data, batch, shape are refused, and so are
    other tokens in a file of the same size."""
    workdir = tmp_path / "base"
    data = shutil.copytree(datasets["general"], tmp_path / "general")
    settings = {"data.general": data}
    trainer = start(workdir, faults=SLOW, **settings)
    trainer.wait_for_step(4)
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 75
    saved = valid_steps(workdir)[-1]
    for change, words in (
        ({"batch_size": 4}, ["batch_size: 8 -> 4", "data.allow_change"]),
        ({"seed": 5}, ["seed: 1337 -> 5"]),
        ({"model.n_layer": 3}, ["model.n_layer is 3", "with 2"]),
    ):
        refused = start(workdir, **settings, **change)
        assert refused.wait() == 2, refused.stderr
        assert all(word in refused.last_line for word in words), refused.last_line
    shard = next(data.rglob("train/*.bin"))
    tokens = shard.read_bytes()
    shard.write_bytes((tokens[: len(tokens) // 4 * 2] * 3)[: len(tokens)])
    refused = start(workdir, **settings)
    assert refused.wait() == 5, refused.stderr
    assert f"{shard} was changed" in refused.last_line
    assert valid_steps(workdir)[-1] == saved
    shard.write_bytes(tokens)
    changed = start(workdir, **settings, **{"optim.peak_lr": 0.5})
    assert changed.wait() == 0, changed.stderr
    assert "changed at resume: optim.peak_lr: 0.001 -> 0.5" in changed.stdout
    assert layout.metrics(workdir)[-1]["lr"] == 0.5
    with open(shard, "ab") as file:
        file.write(b"\0\0")
    again = start(tmp_path / "other", **settings)
    assert again.wait() == 2
    assert str(shard) in again.last_line
    assert saved and not (tmp_path / "other").exists()


def test_a_shard_deleted_in_training_is_an_error_with_its_path(start, datasets, tmp_path):
    """Row 41."""
    data = shutil.copytree(datasets["general"], tmp_path / "general")
    trainer = start(tmp_path / "base", faults={**SLOW, "small_pages": {}}, **{"data.general": data})
    trainer.wait_for_step(1)
    shutil.rmtree(data / "encyclopedia" / "train")
    assert trainer.wait() == 5, trainer.stderr
    assert str(data / "encyclopedia" / "train") in trainer.last_line


def test_a_shard_cut_short_in_training_ends_it_and_is_named_by_the_next_start(
    start, datasets, tmp_path
):
    """Row 41: what the system says of a mapped file has no message; a chain gives it one."""
    data = shutil.copytree(datasets["general"], tmp_path / "general")
    trainer = start(tmp_path / "base", faults=SLOW, **{"data.general": data})
    trainer.wait_for_step(3)
    for shard in data.rglob("train/*.bin"):
        os.truncate(shard, 0)
    # One that was not mapped yet is found to be too short.
    assert trainer.wait() in (-signal.SIGBUS, 5), trainer.stderr
    assert "was cut short" in process.MEANING[128 + signal.SIGBUS]
    again = start(tmp_path / "base", **{"data.general": data})
    assert again.wait() == 2
    assert f"{shard.parent}" in again.last_line and "it is truncated" in again.last_line


def test_a_loader_whose_thread_ends_is_an_error(datasets):
    """Row 51: there is no worker process; the thread is what can die."""
    mixed = mixture.build(
        domain=(),
        general=(datasets["general"],),
        domain_weights=(),
        general_weights=(),
        replay_ratio=1.0,
    )
    batches = loader.TrainLoader(mixed, block_size=32, batch_size=4, seed=0).prefetch(0, 2)
    next(batches)
    batches._stop.set()  # as if it had been ended from elsewhere
    with pytest.raises(RuntimeError, match="has ended"):
        for _ in range(4):  # what was ready, and the one that it was making
            next(batches)


def test_a_hang_is_dumped_and_ended(start, tmp_path):
    """Row 53."""
    trainer = start(
        tmp_path / "base",
        faults={"hang_at": {"step": 5}},
    )
    assert trainer.wait() == 6
    assert "in observe" in trainer.stderr and "Thread" in trainer.stderr
    assert "nothing finished for" in trainer.last_line
    assert valid_steps(tmp_path / "base") == [4]


@pytest.mark.full
def test_a_slow_loader_is_visible(start, tmp_path):
    """Row 52."""
    trainer = start(
        tmp_path / "base",
        faults={"slow_loader": {"secs": 0.5}},
        num_steps=6,
        **{"log.every_steps": 3, "data.prefetch_batches": 1},
    )
    assert trainer.wait() == 0, trainer.stderr
    last = layout.metrics(tmp_path / "base")[-1]
    assert last["input_wait_secs"] >= 2 * 0.5  # the row may be of two waits
    assert re.search(r"input wait \d+%", trainer.stdout)
    waited = layout.finished(tmp_path / "base")["goodput"]["secs"]["data_wait"]
    assert waited >= 6 * 0.5


def test_no_secret_and_no_network_and_a_strange_path(start, tmp_path):
    """Rows 61, 62, 63: an own stage file with secrets, in a workdir with a strange name."""
    stage = tmp_path / "mine.py"
    stage.write_text(
        "from configs import base\n\n\n"
        "def get_config(arg=''):\n"
        "    config = base.get_config(arg)\n"
        "    config.unlock()  # keys of one's own\n"
        "    config.hf_token = 'hf_abcdef'\n"
        "    config.mirror = 'https://user:pa55word@host/x'\n"
        "    return config\n"
    )
    below = Path("a b\u00fc\u2603") / "x" / ".." / "mine"
    workdir = tmp_path / below
    trainer = start(
        f"~/{below}",
        stage=f"{stage}:tiny",
        faults={"crash_at": {"step": 6}, "no_network": {}},
        environment={"WANDB_API_KEY": "wk_secret_123", "HOME": str(tmp_path)},
        **{"log.trackers": "tensorboard"},
    )
    assert trainer.wait() == 1
    text = trainer.stdout + trainer.stderr
    assert "RuntimeError" in text and "https://[redacted]@host/x" in text
    assert json.loads((workdir / "config.json").read_text())["hf_token"] == "[redacted]"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != stage]
    assert all(workdir.resolve() in path.resolve().parents for path in written)
    for secret in ("hf_abcdef", "pa55word", "wk_secret_123"):
        assert secret not in text
        assert [path for path in written if secret.encode() in path.read_bytes()] == []


@pytest.mark.full
def test_goodput_adds_up_over_kills(start, tmp_path):
    """5.7: three kills; the phases add up to the wall time from the first start to the last record.

    Each process stands still when it is killed, so that it does not matter when that is.
    """
    workdir, record = tmp_path / "base", tmp_path / "base" / goodput.FILE

    def starts() -> list[dict]:
        return json.loads(record.read_text())["starts"] if record.exists() else []

    begin, ended = time.time(), []
    for at, saved in ((3, None), (6, 4), (9, 6)):  # checkpoints: 4, 6, 8
        wait = {"step": at, "path": str(tmp_path / "never")}
        trainer = start(workdir, faults={"wait_at": wait, "every_record": {}})
        trainer.wait_for("waiting")
        if saved:
            trainer.wait_until(lambda s=saved: s in valid_steps(workdir), f"step {saved} saved")
        trainer.send(signal.SIGKILL)
        trainer.wait()
        ended.append(time.time())
        assert starts()[-1]["done"] == at - 1
    last = start(workdir)
    assert last.wait() == 0, last.stderr
    found = starts()
    summary = goodput.summarise(found)
    assert summary["starts"] == 4
    assert sum(summary["secs"].values()) == pytest.approx(summary["wall_secs"], rel=0.01)
    # A process starts before it says so and ends after its last record, by clocks of 10 ms.
    assert begin - 0.1 <= found[0]["started"]
    assert all(one["ended"] <= end + 0.1 for one, end in zip(found, ended, strict=False))
    assert found[-1]["ended"] <= record.stat().st_mtime + 0.1
    assert summary["wall_secs"] == pytest.approx(found[-1]["ended"] - found[0]["started"])
    for phase in ("steps", "redone_steps", "compilation", "restore", "evaluation", "stopped"):
        assert summary["secs"][phase] > 0, phase
    assert "goodput" in last.stdout and layout.finished(workdir)["goodput"]["starts"] == 4


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_workdir_that_goes_away_ends_the_run_with_a_line(start, undisturbed, tmp_path, how):
    """Row 68: nothing is written where it was; where it is now, it goes on."""
    workdir, elsewhere, go_on = tmp_path / "base", tmp_path / "elsewhere", tmp_path / "go on"
    trainer = start(workdir, faults={"wait_at": {"step": 6, "path": str(go_on)}})
    trainer.wait_for("waiting")
    trainer.wait_until(lambda: valid_steps(workdir), "a checkpoint")
    workdir.rename(elsewhere)
    if how == "removed":
        shutil.rmtree(elsewhere)
    go_on.touch()
    assert trainer.wait() == 8, trainer.stderr
    assert len(trainer.stderr.splitlines()) == 1, trainer.stderr
    assert f"workdir {workdir} is gone: it was renamed or removed" in trainer.last_line
    assert not workdir.exists()
    if how == "renamed":
        again = start(elsewhere)
        assert again.wait() == 0, again.stderr
        assert_equal_runs(elsewhere, undisturbed)
