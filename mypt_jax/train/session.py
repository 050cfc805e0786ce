"""What one process holds while it works on a run."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from data_pipeline.batches import loader as loaders
from data_pipeline.batches import mixture as mixtures
from mypt_jax import guide
from mypt_jax.checkpoint import save
from mypt_jax.distributed import coordination
from mypt_jax.monitor import goodput, metrics, preemption, profiler, watchdog
from mypt_jax.runs import lease, lineage
from mypt_jax.schema.validation import Parent
from mypt_jax.storage import mirror
from mypt_jax.train import step


@dataclasses.dataclass
class Session:
    """A run at work. `row` holds the training figures of the newest step, read from the device."""

    config: dict
    parent: Parent | None
    program: step.Program
    mixture: mixtures.Mixture
    loader: loaders.TrainLoader
    plan: dict  # {key: loaders.EvalWindows}
    token_bytes: np.ndarray  # bytes of text per token id
    checkpointer: save.Checkpointer
    metrics: metrics.Metrics
    interrupts: preemption.Interrupts
    requests: coordination.Requests
    mirror: mirror.Mirror
    profiler: profiler.Profiler
    lease: lease.Lease
    ledger: goodput.Ledger
    watchdog: watchdog.Watchdog
    guard: guide.StepGuard
    record: dict  # lineage
    started: float  # time.monotonic() at which this run had begun if it had never stopped
    row: dict
    control: step.Control  # of every update, but for what changes with it
    teacher: dict  # parameters, {} where the objective has none

    @property
    def workdir(self) -> str:
        return self.config["workdir"]

    @property
    def is_writer(self) -> bool:
        return jax.process_index() == 0

    def first_decides(self, what: str, decide: Callable[[], Any]) -> Any:
        """agreement.first_decides: files of the run are read by process 0, for all."""
        limit = self.config["distributed"]["save_timeout_secs"]
        return coordination.first_decides(what, decide, timeout_secs=limit)

    def wall_secs(self) -> float:
        return time.monotonic() - self.started

    def tokens(self, done: int) -> int:
        return done * self.config["batch_size"] * self.config["model"]["block_size"]

    def count_windows(self, done: int) -> None:
        """Writes into the lineage what was drawn up to step `done`."""
        block_size = self.config["model"]["block_size"]
        lineage.count_windows(self.record, self.loader.counts(done), block_size)

    def meta(self, done: int) -> dict:
        """What is saved beside the arrays of step `done`."""
        self.count_windows(done)
        return {
            "lineage": self.record,
            "row": metrics.finite(self.row),
            "guard": self.guard.state(),
            "wall_secs": self.wall_secs(),
            "data": {"fingerprint": self.loader.fingerprint, "describe": self.loader.describe()},
        }


def eval_due(config: Mapping, done: int) -> bool:
    return done % config["eval"]["every_steps"] == 0 or done == config["num_steps"]
