"""How a run is started or resumed: its files opened, checked and taken into possession."""

import contextlib
import functools
import time
from collections.abc import Mapping

import jax
import numpy as np

from data_pipeline.batches import loader as loaders
from data_pipeline.batches import window_order
from mypt_jax import optim, redact
from mypt_jax.checkpoint import retention, save
from mypt_jax.distributed import coordination, hosts
from mypt_jax.model import state as states
from mypt_jax.monitor import (
    device,
    goodput,
    metrics,
    observer,
    preemption,
    profiler,
    step_guard,
    timing,
    tracked,
    trackers,
    watchdog,
)
from mypt_jax.runs import layout, lease, lineage
from mypt_jax.schema import duration
from mypt_jax.schema.validation import Validated
from mypt_jax.storage import mirror
from mypt_jax.train import (
    averaging,
    evaluation,
    inputs,
    possession,
    provenance,
    rows,
    step,
    update,
    wishes,
)
from mypt_jax.train.forgetting import limit
from mypt_jax.train.loop import Loop
from mypt_jax.train.run import Run


def open_loop(
    validated: Validated,
    program: step.Program,
    interrupts: preemption.Interrupts,
    stack: contextlib.ExitStack,
) -> tuple[Loop, dict, int, dict]:
    """(loop, state, completed steps, newest row). Writes to the workdir only when all checks have
    passed.

    What must be closed when the run ends, however it ends, is left on `stack`.
    """
    config = validated.config
    loader, plan = inputs.open_loader(validated, program), inputs.plan_evaluation(validated)
    # Before anything is written: hosts that read different text must not own a run together.
    hosts.compare_files(
        inputs.digests(loader, plan, validated.parent),
        timeout_secs=config["distributed"]["timeout_secs"],
    )
    link = mirror.Mirror(config["workdir"])
    owned = possession.lease_of(link, config["workdir"])
    ledger = goodput.Ledger(
        config["workdir"],
        started=goodput.process_start(),
        is_writer=jax.process_index() == 0,
        is_owner=lambda: not owned.is_lost,
    )
    _say_memory(program)
    notes = possession.take(config, program, owned, link, stack)
    ledger.open()
    observers = observer.Observers(watchdog.Watchdog(config["watchdog_secs"]), ledger)
    stack.callback(observers.close)
    saver = _checkpointer(config, owned, link)
    stack.callback(saver.close)
    # Reads in threads while the step compiles; the first save waits for what it says.
    checked = inputs.check_data(validated, stack)
    with ledger.phase("restore" if layout.steps(config["workdir"]) else "compilation"):
        state, meta, found = _start(validated, program, saver, link)
        done = int(state["step"])
    if meta:
        workdir, init_from = config["workdir"], config["init_from"]
        record = layout.located(workdir, meta["lineage"], init_from=init_from)
        # A run that goes on keeps the order of windows and the offsets that it began with.
        loader, changed = provenance.check_data(
            record,
            config,
            validated.mixture,
            meta["data"],
            done,
            open_loader=functools.partial(inputs.open_loader, validated, program),
        )
        found = [*found, *changed]
    else:
        record = provenance.new(validated, loader, program, state)
    if validated.teacher is not None:  # which a run that goes on may have had none of before
        record["teacher"] = validated.teacher._asdict()
    if meta and not layout.has_optimizer(config["workdir"], done):
        found = [*found, provenance.rewarm(record, config, done)]
    program = program._replace(rates=provenance.rates(config, record))
    run = Run(
        config=config,
        parent=validated.parent,
        record=record,
        lease=owned,
        mirror=link,
        data_check=checked,
        metrics=metrics.Metrics(
            config["workdir"],
            is_writer=jax.process_index() == 0,
            num_steps=config["num_steps"],
        ),
        observers=observers,
        started=time.monotonic() - (meta["wall_secs"] if meta else 0.0),  # over all its starts
    )
    stack.callback(run.metrics.close)
    loop = _make_loop(run, validated, program, loader, plan, saver, ledger, interrupts)
    row, kept, resumed = _resume(loop, validated, program, meta, done) if meta else ({}, -1, [])
    if run.broadcast("see whether the run had finished", lambda: layout.finished(run.workdir)):
        run.settle_data(done)  # one whose text was damaged stays finished
    run.metrics.cut(kept)  # what came after the saved step will come again
    if run.is_writer:
        _write_records(run, first_step=kept + 1)
    notes = [*validated.notes, *program.notes, *inputs.notes_of(plan), *notes, *found, *resumed]
    for note in (*notes, metrics.mfu_note(program.mesh)):
        if note:
            run.note(note)
    return loop, state, done, row


def _make_loop(
    run: Run,
    validated: Validated,
    program: step.Program,
    loader: loaders.TrainLoader,
    plan: Mapping,
    saver: save.Checkpointer,
    ledger: goodput.Ledger,
    interrupts: preemption.Interrupts,
) -> Loop:
    config = run.config
    watch = timing.Timing()
    guard = step_guard.StepGuard(
        **optim.only(config["guard"], step_guard.StepGuard.__init__),
        say=run.note,
        name_batch=lambda number: rows.name_batch(loader, number),
    )
    weights = limit.Limit(config, program.rates)
    for one in (
        watch,
        guard,
        weights,
        profiler.Profiler(run.workdir, say=run.note, **config["profile"]),
    ):
        run.observers.add(one)
    frozen = inputs.load_frozen(program, validated.frozen)
    return Loop(
        run=run,
        program=program,
        frozen=frozen,
        loader=loader,
        update=update.Update(
            program,
            control=_control(config, run.record, loader.version),
            teacher=inputs.load_teacher(program, validated, frozen),
            frozen=frozen,
            guard=guard,
            limit=weights,
            ledger=ledger,
            watch=watch,
            interrupts=interrupts,
        ),
        rows=rows.Rows(
            config,
            past_tokens=_past_tokens(run.record),
            more_tokens=_more_tokens(run.record, config),
            loader=loader,
            guard=guard,
            watch=watch,
            mesh=program.mesh,
        ),
        wishes=wishes.Wishes(
            config, requests=coordination.Requests(program.mesh), interrupts=interrupts
        ),
        limit=weights,
        saver=saver,
        evaluate=evaluation.Evaluation(
            run,
            program,
            plan=plan,
            shares={part.key: float(part.share) for part in validated.mixture.components},
            frozen=frozen,
            domain_epochs=duration.domain_epochs(
                config,
                validated.mixture,
                run.record.get("drawn", {}),
                since=lineage.changed(run.record)["step"],
            ),
            token_bytes=validated.tokenizer.token_bytes(),
            ledger=ledger,
            interrupts=interrupts,
        ),
        ledger=ledger,
        watch=watch,
        interrupts=interrupts,
    )


def _past_tokens(record: Mapping) -> int:
    """What the ancestors were trained on, one after another."""
    seen = (one["tokens_by_source"].values() for one in record["ancestors"])
    return sum(sum(tokens) for tokens in seen)


def _more_tokens(record: Mapping, config: Mapping) -> int:
    """What a run was trained on before its data was changed, above what its batches of now would
    have been until then."""
    before, block_size = lineage.changed(record), config["model"]["block_size"]
    windows = sum(before["windows"].values()) - before["step"] * config["batch_size"]
    return windows * block_size


def _say_memory(program: step.Program) -> None:
    held = program.abstract_state
    gradients = held[states.trained(held)]
    notes = device.memory_notes(program.mesh, held, gradients, program.abstract_frozen)
    for note in notes if jax.process_index() == 0 else ():
        metrics.say(note)


def _checkpointer(config: Mapping, owned: lease.Lease, link: mirror.Mirror):
    is_writer = jax.process_index() == 0
    limit = config["distributed"]["save_timeout_secs"]
    return save.Checkpointer(
        config["workdir"],
        keep=retention.keeper(config),
        timeout_secs=limit,
        # Of a bucket's mirror process 0 pushes what it has.
        is_common=not link.is_remote and hosts.share(config["workdir"], timeout_secs=limit),
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
        moments=config["optim"]["moments"],
        fetch_step=link.fetch_step,
        timeout_secs=config["distributed"]["save_timeout_secs"],
    )


def _write_records(run: Run, *, first_step: int) -> None:
    """What the run says of itself, and where its rows also go, of `first_step` on; all checks have
    passed."""
    config = run.config
    # First, since one that does not start leaves the run as it was: finished, if it was.
    told = tracked.Tracked(
        workdir=run.workdir,
        config=redact.tree(config),
        run_id=run.record["run_id"],
        first_step=first_step,
        say=run.note,
        past_tokens=_past_tokens(run.record) + _more_tokens(run.record, config),
        tokens_per_step=config["batch_size"] * config["model"]["block_size"],
    )
    for tracker in trackers.start(told):
        run.observers.add(tracker)
    provenance.write(run.workdir, config, run.record, run.parent)


def _control(config: Mapping, record: Mapping, version: int) -> step.Control:
    """What stays the same in all updates. Every stage of a lineage has a dropout key of its own;
    runs begun with an older order keep theirs."""
    depth = 0 if version == window_order.FROM_THE_START else len(record["ancestors"])
    return step.Control(
        dropout_key=step.dropout_key(config["seed"], depth),
        lr=np.float32(0),
        max_loss=np.float32(np.inf),
        replay_weight=np.float32(0),
        average_from=np.int32(averaging.begin_of(config) or 0),
    )


def _resume(
    loop: Loop, validated: Validated, program: step.Program, meta: Mapping, done: int
) -> tuple[dict, int, list[str]]:
    """(newest row, last step whose row stays, notes). Checks that the saved state still means the
    same."""
    run, config = loop.run, loop.run.config
    notes = [f"resumed {run.workdir} at step {done}"]
    notes += provenance.check_numerics(run.record, config, program, done)
    notes += provenance.check_schedule(run.record, config, done)
    averaging.check_resume(run.record, config, done)
    loop.rows.guard.restore(meta["guard"])
    loop.limit.restore(meta.get(limit.NAME, {}))
    found = run.broadcast(
        "see the run's rows",
        lambda: [
            r for r in layout.metrics(run.workdir) if r["step"] == done and layout.has_eval(r)
        ],
    )
    for row in found:
        loop.limit.at_row(row)  # of an evaluation after the step was saved
    # A row that waits for its evaluation is written again, with it.
    kept = done if found or not duration.is_evaluation_due(config, done) else done - 1
    return found[0] if found else dict(meta["row"]), kept, notes
