"""How a run is started or resumed: its files opened, checked and taken into possession."""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping

import jax
import numpy as np

from data_pipeline.batches import loader as loaders
from data_pipeline.batches import window_order
from mypt_jax import exits, guide, redact
from mypt_jax.checkpoint import retention, save
from mypt_jax.distributed import coordination, hosts, sharding
from mypt_jax.monitor import goodput, metrics, preemption, profiler, trackers, watchdog
from mypt_jax.runs import drawn as drawn_windows
from mypt_jax.runs import integrity, layout, lease, lease_place
from mypt_jax.schema.validation import Parent, Validated
from mypt_jax.storage import mirror
from mypt_jax.train import memory, provenance, session, step


def open_session(
    validated: Validated,
    program: step.Program,
    interrupts: preemption.Interrupts,
    stack: contextlib.ExitStack,
) -> tuple[session.Session, dict, int]:
    """(session, state, completed steps). Writes to the workdir only when all checks have passed.

    What must be closed when the run ends, however it ends, is left on `stack`.
    """
    config = validated.config
    workdir, is_writer = config["workdir"], jax.process_index() == 0
    loader, plan = _open_loader(validated, program), _plan_evaluation(validated)
    hosts.compare_files(
        _digests(loader, plan, validated.parent),
        timeout_secs=config["distributed"]["timeout_secs"],
    )
    link = mirror.Mirror(workdir)
    owned = lease.Lease(_lease_place(link, workdir))
    ledger = goodput.Ledger(
        workdir,
        started=goodput.process_start(),
        is_writer=is_writer,
        is_owner=lambda: not owned.is_lost,
    )

    notes = _enter(config, program, owned, link, stack)
    ledger.open()
    stack.callback(ledger.flush, now=True)
    dog = watchdog.Watchdog(config["watchdog_secs"])
    stack.callback(dog.close)
    saver = _checkpointer(config, owned, link)
    stack.callback(saver.close)
    with ledger.phase("restore" if layout.steps(workdir) else "compilation"):
        state, meta, found = _start(validated, program, saver, link)
        done = int(state["step"])
    if meta:
        loader = _open_loader(validated, program, meta)
    record = meta["lineage"] if meta else provenance.new(validated, loader, program, state)
    work = session.Session(
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
        requests=coordination.Requests(program.mesh),
        mirror=link,
        profiler=profiler.Profiler(workdir, **config["profile"]),
        lease=owned,
        ledger=ledger,
        watchdog=dog,
        guard=_guard(**config["guard"]),
        record=record,
        started=time.monotonic() - (meta["wall_secs"] if meta else 0.0),
        row=dict(meta["row"]) if meta else {},
        control=_control(config, record, loader.version),
        teacher={},
    )
    stack.callback(work.metrics.close)
    stack.callback(work.profiler.close)
    notes += found
    if meta:
        notes += _resume(work, meta, done)
    else:
        work.metrics.cut(-1)
    if is_writer:
        _write_records(work, done)
    mfu = metrics.mfu_note(program.mesh)
    for note in [*validated.notes, *program.notes, *_plan_notes(plan), *notes, mfu]:
        if note:
            work.metrics.note(note)
    return work, state, done


def _checkpointer(config: Mapping, owned: lease.Lease, link: mirror.Mirror):
    is_writer = jax.process_index() == 0
    return save.Checkpointer(
        config["workdir"],
        keep=retention.keeper(config),
        timeout_secs=config["distributed"]["save_timeout_secs"],
        check_owner=owned.check if is_writer else lambda: None,
        on_commit=lambda: link.push(owned.check),
    )


def _start(
    validated: Validated,
    program: step.Program,
    saver: save.Checkpointer,
    link: mirror.Mirror,
) -> tuple[dict, dict | None, list[str]]:
    """(state, meta of the resumed step, notes), by the order of starting."""
    config = validated.config
    return save.start(
        saver,
        program,
        parent=validated.parent,
        fallback=config["checkpoint"]["fallback"],
        allow_cast=config["checkpoint"]["allow_cast"],
        fetch_step=link.fetch_step,
        timeout_secs=config["distributed"]["save_timeout_secs"],
    )


def _guard(*, action: str, max_forgetting: float, **limits) -> guide.StepGuard:
    del action, max_forgetting  # of evaluations, not of steps: forgetting.py
    return guide.StepGuard(**limits)


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
    return coordination.first_decides("see the run opened", enter, timeout_secs=limit)


def _write_records(work: session.Session, done: int) -> None:
    """What the run says of itself, and where its rows also go; all checks have passed."""
    config = work.config
    # First, since one that does not start leaves the run as it was: finished, if it was.
    work.metrics.trackers = trackers.start(
        work.workdir,
        config=redact.tree(config),
        run_id=work.record["run_id"],
        first_step=done,
        tensorboard=config["log"]["tensorboard"],
        project=config["log"]["wandb_project"],
    )
    provenance.write(work.workdir, config, work.record, work.parent)


def _changes(config: Mapping) -> list[str]:
    return provenance.changes(config) if layout.steps(config["workdir"]) else []


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


def _open_loader(
    validated: Validated, program: step.Program, meta: Mapping | None = None
) -> loaders.TrainLoader:
    """The batches of the run: those that it began with, where `meta` of a saved step is given."""
    config = validated.config
    drawn = meta["lineage"].get("drawn", {}) if meta else validated.drawn
    return loaders.TrainLoader(
        validated.mixture,
        block_size=config["model"]["block_size"],
        batch_size=config["batch_size"],
        seed=config["seed"],
        past={part.key: drawn_windows.past(drawn, part) for part in validated.mixture.components},
        version=meta["data"]["describe"]["order"] if meta else window_order.VERSION,
        rows=sharding.local_rows(program.mesh, config["batch_size"]),
    )


def _plan_evaluation(validated: Validated) -> dict[str, loaders.EvalWindows]:
    config = validated.config
    return loaders.plan_eval(
        [*validated.mixture.components, *validated.extra],
        windows_per_role=config["eval"]["windows"],
        min_per_source=config["eval"]["min_windows"],
        block_size=config["model"]["block_size"],
    )


def _control(config: Mapping, record: Mapping, version: int) -> step.Control:
    """What stays the same in all updates. Every stage of a lineage has a dropout key of its own;
    runs begun with an older order keep theirs."""
    depth = 0 if version == window_order.FROM_THE_START else len(record["ancestors"])
    return step.Control(
        dropout_key=step.dropout_key(config["seed"], depth),
        lr=np.float32(0),
        max_loss=np.float32(np.inf),
        replay_weight=np.float32(config["objective"]["replay_weight"]),
    )


def _digests(loader: loaders.TrainLoader, plan: Mapping, parent: Parent | None) -> dict[str, str]:
    """What this process reads: training data, evaluation windows, the parent's step."""
    evaluation = hashlib.sha256()
    for key, windows in sorted(plan.items()):
        evaluation.update(f"{key} {windows.tokens.shape}\n".encode())
        evaluation.update(windows.tokens.tobytes())
        evaluation.update(windows.doc_WL.tobytes())
    found = {
        "training data": loader.fingerprint[:12],
        "evaluation windows": evaluation.hexdigest()[:12],
    }
    if parent is not None:
        directory = layout.step_dir(parent.path, parent.step)
        found[f"{parent.path}@{parent.step}"] = integrity.digest(directory, "params")
    return found


def _plan_notes(plan: Mapping) -> list[str]:
    return [f"evaluation of {key}: {source.note}" for key, source in plan.items() if source.note]


def _resume(work: session.Session, meta: Mapping, done: int) -> list[str]:
    """Checks that the saved state still means the same, and cuts rows that come again."""
    notes = [f"resumed {work.workdir} at step {done}"]
    record, config = work.record, work.config
    saved, loader = meta["data"], work.loader
    notes += provenance.check_data(record, config, work.mixture, loader, saved, done)
    notes += provenance.check_numerics(record, config, work.program, done)
    work.guard.restore(meta["guard"])
    rows = work.first_decides(
        "see the run's rows",
        lambda: [
            r for r in layout.metrics(work.workdir) if r["step"] == done and layout.has_eval(r)
        ],
    )
    if rows:
        work.row = rows[0]
    # A row that waits for its evaluation is written again, with it.
    work.metrics.cut(done if rows or not session.eval_due(work.config, done) else done - 1)
    return notes
