"""How long steps take, and how long they wait for their batch."""

import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Mapping

from jax.sharding import Mesh

from mypt_jax.model import flops
from mypt_jax.monitor import observer


class Timing(observer.Observer):
    """Durations of the steps since the last row, evaluations and saves left out, in seconds."""

    def __init__(self):
        self._steps: list[float] = []
        self._waits: list[float] = []
        self._since = time.monotonic()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What happens inside (evaluation, save, compilation) does not count as a step's time."""
        yield
        self._since = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The time inside is spent on waiting for a batch."""
        start = time.monotonic()
        yield
        self._waits.append(time.monotonic() - start)

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        self._steps.append(now - self._since)
        self._since = now

    def figures(self, tokens_per_step: int, mesh: Mesh, model: Mapping) -> dict[str, float]:
        """Measured fields of a row; starts the next interval.

        `mfu` (convention: flops.py) where the chip's peak is known, `device_memory_bytes` (the most
        that one device of this process held) where the device tells.
        """
        steps, waits = self._steps, self._waits
        self._steps, self._waits = [], []
        if not steps:
            return {}
        total = max(sum(steps), 1e-9)
        rate = tokens_per_step * len(steps) / total
        measured = {
            "mfu": flops.utilisation(model, rate, mesh.devices.flat[0].device_kind, mesh.size),
            "device_memory_bytes": max(
                (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
                for device in mesh.local_devices
            ),
        }
        return {
            "tokens_per_sec": rate,
            "device_tokens_per_sec": rate / mesh.size,
            **{name: value for name, value in measured.items() if value},
            "step_secs": total / len(steps),
            "step_p50_secs": statistics.median(steps),
            "step_p95_secs": sorted(steps)[math.ceil(0.95 * len(steps)) - 1],
            "input_wait_secs": sum(waits),
            "input_wait_share": sum(waits) / total,
        }
