"""The only module that prints or writes metrics: metrics.jsonl and the progress line."""

import contextlib
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping

from jax.sharding import Mesh

from data_pipeline import atomic
from mypt_jax import exits, redact
from mypt_jax.model import flops
from mypt_jax.runs import layout, metrics_file


def finite(row: Mapping) -> dict:
    """A row in which values that are not finite are None, because JSON has no NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def to_json(row: Mapping) -> str:
    return json.dumps(finite(row), allow_nan=False)


def say(line: str) -> None:
    """A line for the user outside a run."""
    print(redact.text(line), flush=True)


class Metrics:
    """Writes rows, each step once, and shows progress. Silent on all processes but the first."""

    def __init__(self, workdir: str, *, is_writer: bool, num_steps: int):
        self._path = layout.join(workdir, layout.METRICS)
        self._is_writer = is_writer
        self._num_steps = num_steps
        self._unwritten: list[str] = []  # lines that a full disk has refused
        self._bar = is_writer and sys.stderr.isatty()
        self._bar_open = False

    def cut(self, last_step: int) -> None:
        """Removes rows later than `last_step`, which a resumed run writes again, and damage."""
        if not (self._is_writer and os.path.exists(self._path)):
            return
        found = metrics_file.read(self._path)
        if found.damaged and last_step >= 0:
            self.note(f"warning: {metrics_file.damage(self._path, found)}, and removed now")
        rows = [row for row in found.rows if row["step"] <= last_step]
        with atomic.replacing(self._path) as file:
            file.writelines(f"{to_json(row)}\n".encode() for row in rows)

    def write(self, row: Mapping) -> None:
        """Appends a row to metrics.jsonl and shows it.

        A row that cannot be written does not end training: it is told once, and tried again.
        """
        if not self._is_writer:
            return
        first = not self._unwritten
        self._unwritten.append(to_json(row) + "\n")
        try:
            self._append()
        except OSError as error:
            if first:
                self.note(f"warning: {self._path} cannot be written: {error}; trying again")
        self._show(row)

    def _append(self) -> None:
        """Writes the lines that wait, all or none."""
        with open(self._path, "ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            data = "".join(self._unwritten).encode()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._path, size)  # no half line stays behind
                raise
        self._unwritten.clear()

    def flush(self) -> None:
        """Raises StorageFailure when rows could not be written."""
        if not self._is_writer:
            return
        try:
            self._append()
        except OSError as error:
            raise exits.StorageFailure(
                f"{len(self._unwritten)} rows of {self._path} could not be written: {error}; "
                "checkpoints are intact, make room and run the same command again"
            ) from error

    def note(self, line: str) -> None:
        """A line for the user, once."""
        if self._is_writer:
            self._close_bar()
            print(redact.text(line), flush=True)

    def close(self) -> None:
        self._close_bar()

    def _show(self, row: Mapping) -> None:
        """The progress of a row: a bar on a terminal, else a line."""
        text = _text(row, self._num_steps)
        if not self._bar:
            print(text, flush=True)
            return
        width = max(10, min(30, shutil.get_terminal_size().columns - len(text) - 3))
        if any(key.startswith("eval/") for key in row):
            self._close_bar()
            print(text, file=sys.stderr, flush=True)
            return
        done = round(width * row["step"] / self._num_steps)
        bar = "#" * done + "." * (width - done)
        print(f"\r\033[K[{bar}] {text}", end="", file=sys.stderr, flush=True)
        self._bar_open = True

    def _close_bar(self) -> None:
        if self._bar_open:
            print(file=sys.stderr, flush=True)
            self._bar_open = False


def _hardware(row: Mapping) -> list[str]:
    """How well the devices are used, where it is known."""
    parts = []
    if row.get("device_tokens_per_sec", row["tokens_per_sec"]) < 0.99 * row["tokens_per_sec"]:
        parts.append(f"{row['device_tokens_per_sec']:,.0f} tok/s/device")
    if row.get("mfu") is not None:
        parts.append(f"MFU {row['mfu']:.1%}")
    if row.get("device_memory_bytes"):
        parts.append(f"{row['device_memory_bytes'] / 2**30:.1f} GiB")
    if row.get("step_p95_secs"):
        parts.append(f"p50/p95 {row['step_p50_secs']:.3g}/{row['step_p95_secs']:.3g} s")
    if row.get("input_wait_share", 0.0) >= 0.01:  # below it is noise
        parts.append(f"input wait {row['input_wait_share']:.0%}")
    return parts


def mfu_note(mesh: Mesh) -> str:
    """With which convention and peak MFU is computed, or why it is not."""
    kind = mesh.devices.flat[0].device_kind
    name = flops.chip_of(kind)
    if name is None:
        return f"MFU: not given, the peak rate of {kind} is not known"
    chip = flops.CHIPS[name]
    return (
        f"MFU: model FLOPs ({flops.CONVENTION}) over {mesh.size} x {kind} at "
        f"{chip.peak / 1e12:,.0f} TFLOP/s ({chip.dtype})"
    )


def _text(row: Mapping, num_steps: int) -> str:
    """step 40/86  loss 4.1234  lr 3e-04  12,345 tok/s  ETA 0:01:02  domain 4.59  general 5.77"""
    parts = [f"step {row['step']}/{num_steps}"]
    if row.get("loss") is not None:
        parts.append(f"loss {row['loss']:.4f}")
    if "lr" in row:
        parts.append(f"lr {row['lr']:.2e}")
    if "tokens_per_sec" in row:
        left = max(0, round((num_steps - row["step"]) * row["step_secs"]))
        parts.append(f"{row['tokens_per_sec']:,.0f} tok/s")
        parts += _hardware(row)
        parts.append(f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}")
    for role in ("domain", "general", "val"):
        value = row.get(f"eval/{role}/loss")
        if value is not None:
            parts.append(f"{role} {value:.4f}")
        told = [row.get(f"foretold/{role}/{name}") for name in ("loss", "low", "high")]
        if told[0] is not None:
            between = "" if told[1] is None else f" ({told[1]:.2f} to {told[2]:.2f})"
            parts[-1] += f" -> {told[0]:.2f}{between}"
    changes = [name for name in ("forgetting", "behaviour") if f"{name}/percent" in row]
    for name in changes:
        nats = row.get(f"{name}/nats")  # rows from before it was logged have the other alone
        first = "" if nats is None else f" {nats:+.3f} nats,"
        parts.append(f"{name}{first} {row[f'{name}/percent']:+.1f} %")
    if changes and row.get("guard/action"):
        parts[-1] += f" ({row['guard/action']})"
    return "  ".join(parts)
