"""What one process holds while it works on a run, and how a run is started or resumed."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from data_pipeline import loader as loaders
from data_pipeline import mixture as mixtures
from mypt_jax import (
    agreement,
    checkpointer,
    exits,
    goodput,
    guard,
    interrupt,
    lease,
    lease_place,
    memory,
    metrics,
    mirror,
    profiler,
    redact,
    retention,
    run,
    sharding,
    step,
    trackers,
    watchdog,
)
from mypt_jax import record as records
from mypt_jax.config import Parent, Validated


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
    checkpointer: checkpointer.Checkpointer
    metrics: metrics.Metrics
    interrupts: interrupt.Interrupts
    requests: agreement.Requests
    mirror: mirror.Mirror
    profiler: profiler.Profiler
    lease: lease.Lease
    ledger: goodput.Ledger
    watchdog: watchdog.Watchdog
    guard: guard.StepGuard
    record: dict  # lineage
    started: float  # time.monotonic() at which this run had begun if it had never stopped
    row: dict

    @property
    def workdir(self) -> str:
        return self.config["workdir"]

    @property
    def is_writer(self) -> bool:
        return jax.process_index() == 0

    def first_decides(self, what: str, decide: Callable[[], Any]) -> Any:
        """agreement.first_decides: files of the run are read by process 0, for all."""
        limit = self.config["distributed"]["save_timeout_secs"]
        return agreement.first_decides(what, decide, timeout_secs=limit)

    def wall_secs(self) -> float:
        return time.monotonic() - self.started

    @property
    def loader_parts(self) -> int:
        """Into how many parts, one per group of processes, a batch is split."""
        return sharding.local_rows(self.program.mesh, self.config["batch_size"])[1]

    def tokens(self, done: int) -> int:
        return done * self.config["batch_size"] * self.config["model"]["block_size"]

    def tokens_by_source(self, done: int) -> dict[str, int]:
        size = self.config["model"]["block_size"]
        return {key: int(n) * size for key, n in self.loader.counts(done).items()}

    def meta(self, done: int) -> dict:
        """What is saved beside the arrays of step `done`."""
        self.record["tokens_by_source"] = self.tokens_by_source(done)
        return {
            "lineage": self.record,
            "row": metrics.finite(self.row),
            "guard": self.guard.state(),
            "wall_secs": self.wall_secs(),
            "data": {"fingerprint": self.loader.fingerprint, "describe": self.loader.describe()},
        }


def open_session(
    validated: Validated,
    program: step.Program,
    interrupts: interrupt.Interrupts,
    stack: contextlib.ExitStack,
) -> tuple[Session, dict, int]:
    """(session, state, completed steps). Writes to the workdir only when all checks have passed.

    What must be closed when the run ends, however it ends, is left on `stack`.
    """
    config = validated.config
    workdir, is_writer = config["workdir"], jax.process_index() == 0
    ledger = goodput.Ledger(workdir, started=goodput.process_start(), is_writer=is_writer)
    loader, plan = _open_data(validated, program)
    limit = config["distributed"]["save_timeout_secs"]
    link = mirror.Mirror(workdir)
    owned = lease.Lease(_lease_place(link, workdir))

    notes = _enter(config, program, owned, link, stack)
    ledger.open()
    stack.callback(ledger.flush, now=True)
    dog = watchdog.Watchdog(config["watchdog_secs"])
    stack.callback(dog.close)
    saver = checkpointer.Checkpointer(
        workdir,
        keep=retention.keeper(config),
        timeout_secs=limit,
        check_owner=owned.check if is_writer else lambda: None,
        on_commit=lambda: link.push(owned.check),
    )
    with ledger.phase("restore" if run.steps(workdir) else "compilation"):
        state, meta, found = checkpointer.start(
            saver,
            program,
            parent=validated.parent,
            fallback=config["checkpoint"]["fallback"],
            allow_cast=config["checkpoint"]["allow_cast"],
            fetch_step=link.fetch_step,
            timeout_secs=limit,
        )
        done = int(state["step"])
    notes += found
    stack.callback(saver.close)
    record = meta["lineage"] if meta else records.new(validated, loader, program, state)
    session = Session(
        config=config,
        parent=validated.parent,
        program=program,
        mixture=validated.mixture,
        loader=loader,
        plan=plan,
        token_bytes=validated.tokenizer.token_bytes(),
        checkpointer=saver,
        metrics=metrics.Metrics(workdir, is_writer=is_writer, num_steps=config["num_steps"]),
        interrupts=interrupts,
        requests=agreement.Requests(program.mesh),
        mirror=link,
        profiler=profiler.Profiler(workdir, **config["profile"]),
        lease=owned,
        ledger=ledger,
        watchdog=dog,
        guard=guard.StepGuard(
            max_nonfinite_steps=config["guard"]["max_nonfinite_steps"],
            spike_sigma=config["guard"]["spike_sigma"],
            spike_window=config["guard"]["spike_window"],
            skip_spikes=config["guard"]["skip_spikes"],
        ),
        record=record,
        started=time.monotonic() - (meta["wall_secs"] if meta else 0.0),
        row=dict(meta["row"]) if meta else {},
    )
    stack.callback(session.metrics.close)
    stack.callback(session.profiler.close)
    if meta:
        notes += _resume(session, meta, done)
    else:
        session.metrics.cut(-1)
    if is_writer:
        _write_records(session, done)
    mfu = metrics.mfu_note(program.mesh)
    for note in [*validated.notes, *program.notes, *_plan_notes(plan), *notes, mfu]:
        if note:
            session.metrics.note(note)
    return session, state, done


def _enter(
    config: Mapping,
    program: step.Program,
    owned: lease.Lease,
    link: mirror.Mirror,
    stack: contextlib.ExitStack,
) -> list[str]:
    """Makes process 0 the owner of the run, when it may go on with this config; returns notes."""
    workdir = config["workdir"]

    def enter() -> list[str]:
        changes = _changes(config)
        disk = retention.check_disk(workdir, program.abstract_state, keep=config["checkpoint"])
        notes = _take_over(owned, link, workdir, stack)
        # Again, where the steps have come from a bucket just now.
        return [*notes, disk, *(changes or _changes(config))]

    for note in memory.notes(program) if jax.process_index() == 0 else ():
        metrics.say(note)
    limit = config["distributed"]["save_timeout_secs"]
    return agreement.first_decides("see the run opened", enter, timeout_secs=limit)


def _write_records(session: Session, done: int) -> None:
    """What the run says of itself, and where its rows also go; all checks have passed."""
    config = session.config
    records.write(session.workdir, config, session.record, session.parent)
    session.metrics.trackers = trackers.start(
        session.workdir,
        config=redact.tree(config),
        run_id=session.record["run_id"],
        first_step=done,
        tensorboard=config["log"]["tensorboard"],
        project=config["log"]["wandb_project"],
    )


def _changes(config: Mapping) -> list[str]:
    return records.changes(config) if run.steps(config["workdir"]) else []


def _lease_place(link: mirror.Mirror, workdir: str):
    """A run in a bucket has its lease there, where another machine sees it."""
    if link.bucket is None:
        return lease_place.InDirectory(workdir)
    return lease_place.InBucket(link.bucket)


def _take_over(
    owned: lease.Lease, link: mirror.Mirror, workdir: str, stack: contextlib.ExitStack
) -> list[str]:
    """Makes this process the owner of the run, or raises LostPeer; returns notes."""
    existed = os.path.isdir(workdir)
    try:
        os.makedirs(workdir, exist_ok=True)
        note = owned.acquire()
    except OSError as error:
        raise exits.StorageFailure(f"workdir {workdir} cannot be written: {error}") from None

    def release():
        owned.release()
        if not existed and not os.listdir(workdir):
            os.rmdir(workdir)  # the run failed before it wrote anything

    stack.callback(release)
    link.take_over()
    return [f"warning: {note}"] if note else []


def _open_data(validated: Validated, program: step.Program) -> tuple[loaders.TrainLoader, dict]:
    config = validated.config
    part, parts = sharding.local_rows(program.mesh, config["batch_size"])
    loader = loaders.TrainLoader(
        validated.mixture,
        block_size=config["model"]["block_size"],
        batch_size=config["batch_size"],
        seed=config["seed"],
        process_index=part,
        process_count=parts,
    )
    plan = loaders.plan_eval(
        [*validated.mixture.components, *validated.extra],
        windows_per_role=config["eval"]["windows"],
        min_per_source=config["eval"]["min_windows"],
        block_size=config["model"]["block_size"],
    )
    return loader, plan


def _plan_notes(plan: Mapping) -> list[str]:
    return [f"evaluation of {key}: {source.note}" for key, source in plan.items() if source.note]


def _resume(session: Session, meta: Mapping, done: int) -> list[str]:
    """Checks that the saved state still means the same, and cuts rows that come again."""
    notes = [f"resumed {session.workdir} at step {done}"]
    record, config = session.record, session.config
    notes += records.check_data(record, config, session.loader, meta["data"], done)
    notes += records.check_numerics(record, config, session.program, done)
    session.guard.restore(meta["guard"])
    rows = session.first_decides(
        "see the run's rows",
        lambda: [r for r in run.metrics(session.workdir) if r["step"] == done and run.has_eval(r)],
    )
    if rows:
        session.row = rows[0]
    # A row that waits for its evaluation is written again, with it.
    session.metrics.cut(done if rows or not eval_due(session.config, done) else done - 1)
    return notes


def eval_due(config: Mapping, done: int) -> bool:
    return done % config["eval"]["every_steps"] == 0 or done == config["num_steps"]
