"""A run at work: what it is, who owns it, and where it writes."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mypt_jax.distributed import coordination
from mypt_jax.monitor import metrics, observer
from mypt_jax.monitor.data_check import DataCheck
from mypt_jax.runs import layout, lease, lineage
from mypt_jax.schema.validation import Parent
from mypt_jax.storage import mirror


@dataclasses.dataclass(frozen=True)
class Run:
    """Its files are read and written by process 0, for all, as long as it is the owner."""

    config: dict
    parent: Parent | None
    record: dict  # lineage
    lease: lease.Lease
    mirror: mirror.Mirror
    data_check: DataCheck
    metrics: metrics.Metrics
    observers: observer.Observers
    started: float  # time.monotonic() at which this run had begun if it had never stopped

    @property
    def workdir(self) -> str:
        return self.config["workdir"]

    @property
    def is_writer(self) -> bool:
        return jax.process_index() == 0

    def broadcast(self, what: str, decide: Callable[[], Any]) -> Any:
        """coordination.broadcast: what process 0 finds in the files of the run, for all."""
        limit = self.config["distributed"]["save_timeout_secs"]
        return coordination.broadcast(what, decide, timeout_secs=limit)

    def note(self, line: str) -> None:
        """A line for the user, once."""
        self.metrics.note(line)

    def settle_data(self, done: int) -> None:
        """Returns when it is known that the text is what it was; nothing is saved before. Raises
        UserError."""
        self.data_check.settle(lambda: self.observers.at_save(done), self.note)

    def write_row(self, row: Mapping) -> None:
        if self.is_writer:
            self.lease.check()
        row = {**row, "wall_secs": self.wall_secs(), "run_id": self.record["run_id"]}
        self.metrics.write(row)
        self.observers.at_row(row)

    def write_lineage(self) -> None:
        lineage.write_json(layout.join(self.workdir, lineage.FILE), self.record)

    def push(self) -> None:
        """What lies in the workdir, to its bucket if it has one."""
        self.mirror.push(self.lease.check)

    def wall_secs(self) -> float:
        return time.monotonic() - self.started
