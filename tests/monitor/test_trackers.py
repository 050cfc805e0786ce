"""What is written for TensorBoard and Weights & Biases, read back."""

import math
import os
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from data_pipeline.errors import UserError
from mypt_jax.monitor import tensorboard, tracked, trackers

ROW = {
    "step": 10,
    "loss": 4.5,
    "lr": 3e-5,
    "run_id": "abc",
    "eval/domain/loss": 3.25,
    "grad_norm": math.nan,
    "tokens": 2048,
}


def start(tmp_path, *, first_step=0, project="", said=None):
    said = [] if said is None else said
    log = {"trackers": ("wandb" if project else "tensorboard",), "wandb_project": project}
    config = {"size": "tiny", "stage": "v3", "log": log}
    told = tracked.Tracked(str(tmp_path), config, "abc", first_step, said.append, 1000, 100)
    return trackers.start(told)


def events(directory) -> list[Event]:
    """All events in the order of their files; a record is length, crc, bytes, crc."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*"), key=os.path.getmtime):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def test_event_files_hold_the_finite_numbers_in_groups_by_tokens_of_the_lineage(tmp_path):
    (tracker,) = start(tmp_path)
    tracker.at_row({"step": 10, **ROW})
    tracker.close()
    values = {
        (event.step, value.tag): value.simple_value
        for event in events(tmp_path)
        for value in event.summary.value
    }
    assert values == {
        (2000, "train/loss"): 4.5,
        (2000, "train/lr"): pytest.approx(3e-5),
        (2000, "eval/domain/loss"): 3.25,
        (2000, "data/tokens"): 2048,
    }


@pytest.mark.parametrize(
    ("group", "keys"),
    [
        ("train", ("loss", "lr", "grad_norm", "nonfinite_steps", "replay_weight")),
        ("eval", ("report/domain/nats", "forgetting/percent", "behaviour/percent")),
        ("time", ("tokens_per_sec", "step_p95_secs", "wall_secs", "mfu", "device_memory_bytes")),
        ("data", ("share/domain/cwe", "epochs/domain/cwe", "tokens", "lineage_tokens")),
    ],
)
def test_every_figure_is_in_its_group(group, keys):
    assert {tracked.tag(key) for key in keys} == {f"{group}/{key}" for key in keys}


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path):
    for first_step in (0, 8):
        (tracker,) = start(tmp_path, first_step=first_step)
        tracker.at_row({"step": 10, **ROW})
        tracker.close()
    restarts = [event.step for event in events(tmp_path) if event.session_log.status]
    assert restarts == [1800]


def test_a_full_disk_stops_no_training_and_later_rows_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "_FLUSH_SECS", -1.0)
    said = []
    (tracker,) = start(tmp_path, said=said)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), tracker._tracker._writer._writer.fileno())
    for step in (10, 20, 30):
        tracker.at_row(ROW | {"step": step})
    tracker.close()
    assert said == [
        "warning: log.trackers: tensorboard lacks rows: [Errno 28] No space left on device"
    ]
    steps = {event.step for event in events(tmp_path) if event.summary.value}
    assert steps == {3000, 4000}


def test_wandb_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match="requirements-wandb.txt"):
        start(tmp_path, project="mypt")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of wandb's own dependencies
def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tracker,) = start(tmp_path, project="mypt")
    tracker.at_row({"step": 10, **ROW})
    tracker.close()
    (record,) = tmp_path.glob("wandb/offline-run-*/run-abc.wandb")
    data = record.read_bytes()
    assert b"eval/domain/loss" in data and b"3.25" in data
