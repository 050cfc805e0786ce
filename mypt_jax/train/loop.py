"""The training loop: get batch, step, maybe save, maybe evaluate.

`done` counts completed updates. The figures of a step are read from the device after the next one
was sent there, so that the device never waits for the host.
"""

import contextlib
import time
from collections.abc import Mapping

import jax
import numpy as np

from data_pipeline.batches.batch import Batch
from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.distributed import coordination, heartbeat, hosts, sharding
from mypt_jax.evaluate import losses
from mypt_jax.model import attention_check
from mypt_jax.monitor import metrics, preemption
from mypt_jax.runs import layout
from mypt_jax.schema.validation import Validated
from mypt_jax.train import finish, forgetting, parent_check, session, step
from mypt_jax.train import start as opening


def run_stage(validated: Validated, interrupts: preemption.Interrupts) -> None:
    """Trains a stage to its end, resuming what is there. Raises RunEnd and UserError."""
    config = validated.config
    with contextlib.ExitStack() as stack:
        stack.enter_context(exits.storage())
        interrupts.limit(config["time_budget_secs"])
        step.set_up_jax(
            deterministic=config["deterministic"], compile_cache=config["compile_cache"]
        )
        hosts.start(config["distributed"])
        listener = stack.enter_context(heartbeat.Pulse(config["distributed"]["timeout_secs"]))
        stack.enter_context(hosts.peers(listener.silent))
        hosts.compare(config, timeout_secs=config["distributed"]["timeout_secs"])
        if coordination.first_decides(
            "see what is there",
            lambda: finish.is_there(config),
            timeout_secs=config["distributed"]["save_timeout_secs"],
        ):
            return
        sources = [step.Source(part.role, part.share) for part in validated.mixture.components]
        program = step.build(config, eot=validated.tokenizer.eot, sources=sources)
        attention_check.run(program.model_config)
        work, state, done = opening.open_session(validated, program, interrupts, stack)
        _compile_evaluation(work, state)
        if session.eval_due(config, done) and not layout.has_eval(work.row):
            _evaluate(work, state, done)
        kept = forgetting.act(work, done)
        if kept is None:
            state, done = loop(work, state, done)
            kept = forgetting.act(work, done)
        finish.pin(work, done if kept is None else kept)


def _compile_evaluation(work: session.Session, state: dict) -> None:
    """Before the first step, so that later no signal waits for a compilation."""
    with work.ledger.phase("compilation"):
        size = losses.eval_batch_size(work.config)
        windows = next(iter(work.plan.values())).tokens
        rows = windows[sharding.local_rows(work.program.mesh, size) % len(windows)]
        batch = sharding.global_batch(work.program.mesh, rows, size)
        jax.block_until_ready(work.program.measure(state["params"], batch))
    work.watchdog.beat()


def loop(work: session.Session, state: dict, done: int) -> tuple[dict, int]:
    """Trains until num_steps or until the forgetting guard has something to do."""
    config, program, ledger = work.config, work.program, work.ledger
    watch = metrics.Stopwatch()
    last_save = time.monotonic()
    pending = None
    compiled = False
    batches = work.loader.prefetch(done, config["data"]["prefetch_batches"])
    try:
        while done < config["num_steps"]:
            ledger.enter("data_wait")
            wait_start = time.monotonic()
            rows = _next_batch(batches, done)
            watch.waited(time.monotonic() - wait_start)
            ledger.step(done + 1)
            batch = sharding.global_batch(program.mesh, rows, config["batch_size"])
            control = work.control._replace(
                lr=program.rates(done), max_loss=np.float32(work.guard.threshold(done + 1))
            )
            work.profiler.before_step(done)
            with ledger.phase("compilation") if not compiled else contextlib.nullcontext():
                state, figures = program.step(state, batch, control, work.teacher)
            if not compiled:
                # From here on a signal is answered by a save, and no longer by leaving at once.
                work.interrupts.arm()
                watch.restart()
                compiled = True
            if pending is not None:
                _read(work, *pending, watch)
            done += 1
            pending = (done, {**figures, "lr": float(control.lr)})
            work.checkpointer.poll()
            traced = work.profiler.after_step(done, figures)
            if traced:
                work.metrics.note(traced)

            asked = work.requests.ask(_request(work, last_save))
            stop = asked == coordination.STOP
            evaluates = session.eval_due(config, done)
            if not (asked or evaluates or _save_due(config, done)):
                continue
            _read(work, *pending, watch)
            pending = None
            with ledger.phase("save"):
                work.checkpointer.save(done, state, work.meta(done))
                last_save = time.monotonic()
                work.requests.saved()
                if stop:
                    work.checkpointer.wait_together()
            work.watchdog.beat()
            if stop:
                work.metrics.flush()
                raise work.interrupts.preempted()
            if evaluates:
                _evaluate(work, state, done)
                if forgetting.is_over(work):
                    break
            watch.restart()
    finally:
        batches.close()
    return state, done


def _request(work: session.Session, last_save: float) -> int:
    """What this process asks of all: a signal may reach one only, and clocks differ."""
    if work.interrupts.reason():
        return coordination.STOP
    every_secs = work.config["checkpoint"]["every_secs"]
    if work.is_writer and every_secs and time.monotonic() - last_save >= every_secs:
        return coordination.SAVE
    return coordination.NOTHING


def _save_due(config: dict, done: int) -> bool:
    every_steps = config["checkpoint"]["every_steps"]
    return bool(every_steps) and done % every_steps == 0


def _read(work: session.Session, done: int, figures: dict, watch: metrics.Stopwatch) -> None:
    """Takes the figures of step `done` from the device; writes its row when one is due."""
    figures = means(figures)
    loss, grad_norm = figures["loss"], figures["grad_norm"]
    watch.step_done()
    work.watchdog.beat()
    work.ledger.flush(done)
    try:
        note = work.guard.add(done, loss, grad_norm)
    except exits.Divergence as error:
        raise exits.Divergence(f"{error}; {_batch_line(work, done - 1)}") from error
    if note:
        work.metrics.note(f"warning: {note}; {_batch_line(work, done - 1)}")
    work.row = {"step": done, **figures}
    due = done % work.config["log"]["every_steps"] == 0
    evaluates = session.eval_due(work.config, done)
    if not (due or evaluates):
        return
    counts = work.loader.counts(done)
    windows = max(1, sum(counts.values()))
    epochs = work.loader.epochs(done)
    work.row |= {
        "nonfinite_steps": work.guard.nonfinite_steps,
        "tokens": work.tokens(done),
        **watch.figures(work.tokens(1), work.program.mesh, work.config["model"]),
        **{f"share/{key}": int(n) / windows for key, n in counts.items()},
        **{f"epochs/{key}": float(epochs[key]) for key in counts},
    }
    if not evaluates:  # an evaluation writes the row, with its own figures in it
        _write_row(work)


def means(figures: Mapping) -> dict[str, float]:
    """Figures of a step as floats: (sum, count) as their mean, left out where nothing counted."""
    found = {}
    for name, value in figures.items():
        if isinstance(value, tuple):
            total, count = map(float, value)
            if count:
                found[name] = total / count
        else:
            found[name] = float(value)
    return found


def _batch_line(work: session.Session, batch: int) -> str:
    """Which text a batch was: it can be had again by its number, seed and data."""
    before, after = work.loader.counts(batch), work.loader.counts(batch + 1)
    drawn = ", ".join(f"{after[k] - before[k]} of {k}" for k in after if after[k] > before[k])
    return f"batch {batch} (seed {work.config['seed']}): windows {drawn}"


def _next_batch(batches, done: int) -> Batch:
    """Raises NoValidState when the data can no longer be read."""
    try:
        return next(batches)[1]
    except (OSError, UserError) as error:
        raise exits.NoValidState(f"batch {done} cannot be read: {error}") from error


def _write_row(work: session.Session) -> None:
    if work.is_writer:
        work.lease.check()
    row = {**work.row, "wall_secs": work.wall_secs(), "run_id": work.record["run_id"]}
    work.metrics.write(row)


def _evaluate(work: session.Session, state: dict, done: int) -> None:
    """Scores every source, compares with parent and base, writes the row of this step."""
    start = time.monotonic()
    phase = work.ledger.enter("evaluation")

    def between_batches():
        work.watchdog.beat()
        if jax.process_count() == 1:  # several processes leave together, after the next step
            work.interrupts.check()

    scores = losses.score(
        work.program.measure,
        state["params"],
        work.plan,
        mesh=work.program.mesh,
        batch_size=losses.eval_batch_size(work.config),
        token_bytes=work.token_bytes,
        between_batches=between_batches,
    )
    shares = {part.key: float(part.share) for part in work.mixture.components}
    row = losses.rows(scores, shares)
    row |= work.first_decides("hear of the evaluation", lambda: _judge(work, row, scores, done))
    work.row = {"step": done, **work.row, **row, "eval_secs": time.monotonic() - start}
    _write_row(work)
    work.ledger.enter(phase)
    work.ledger.flush(done)


def _judge(work: session.Session, row: dict, scores: dict, done: int) -> dict:
    """Saves an evaluation and compares it with those of the ancestors; more of its row."""
    path = layout.eval_file(work.workdir, done)
    work.lease.check()
    losses.save(path, scores)
    if done == 0 and work.parent is not None:
        parent_check.compare(work, row, path)
    return metrics.finite(forgetting.measure(work, row, scores, path))
