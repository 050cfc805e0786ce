"""The training loop: next batch, update, observe, wish, act.

`done` counts completed updates. The figures of an update are read from the device after the next
one was sent there, so that the device never waits for the host.
"""

import contextlib
import dataclasses
from collections.abc import Generator, Mapping
from typing import Any

from data_pipeline.batches import loader as loaders
from data_pipeline.batches.batch import Batch
from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.checkpoint import restore, save
from mypt_jax.model import adapters
from mypt_jax.monitor import goodput, preemption, timing
from mypt_jax.schema import duration
from mypt_jax.train import (
    averaging,
    evaluation,
    provenance,
    rows,
    step,
    update,
    wishes,
)
from mypt_jax.train.forgetting import guard, limit
from mypt_jax.train.run import Run


@dataclasses.dataclass(frozen=True)
class Loop:
    """What the loop works with."""

    run: Run
    program: step.Program
    loader: loaders.TrainLoader
    update: update.Update
    rows: rows.Rows
    wishes: wishes.Wishes
    limit: limit.Limit
    saver: save.Checkpointer
    evaluate: evaluation.Evaluation
    frozen: Mapping  # what adapters are added to, {} where all parameters are trained
    ledger: goodput.Ledger
    watch: timing.Timing
    interrupts: preemption.Interrupts


def train(loop: Loop, state: dict, done: int, row: dict) -> tuple[dict, int, dict]:
    """(state, completed updates, newest row) at num_steps, or where forgetting is over its limit.

    Raises RunEnd.
    """
    # What a finished run holds beside it has no part in its updates.
    state = {name: state[name] for name in loop.program.abstract_state}
    sent: tuple[int, dict] | None = None  # an update whose figures have not been read
    with contextlib.closing(_batches(loop, done)) as batches:
        for batch in batches:
            loop.run.observers.before_step(done)
            state, figures = loop.update(state, batch, done)
            if sent:
                row = _observe(loop, *sent)
            done, sent = done + 1, (done + 1, figures)
            loop.saver.poll()
            loop.run.data_check.poll()
            wish = loop.wishes.after(done)
            if wish is None:
                continue
            row, sent = _observe(loop, *sent), None
            if done == loop.run.config["num_steps"]:
                state = _result(loop, state)
            with loop.watch.pause():
                row = _act(loop, wish, state, done, row)
            if wish.evaluate and guard.is_over(loop.run, row):
                break
    return state, done, row


def _result(loop: Loop, state: dict) -> dict:
    """The state as the run ends: with the parameters that its adapters make, the mean of its
    parameters, and inside its limit, as is wanted."""
    state, run = dict(averaging.result(state)), loop.run
    if adapters.NAME in state:
        state["params"] = loop.program.merge(_whole(loop), state[adapters.NAME])
    if not loop.limit.budget:
        return state
    with loop.watch.pause(), loop.ledger.phase("evaluation"):
        params, base = state["params"], loop.evaluate.base()
        state["params"], share, found = limit.hold(
            params, base, loop.evaluate.limited, loop.limit.budget
        )
    run.record[limit.NAME] = {
        "budget": loop.limit.budget,
        "on": run.config["objective"]["limit_on"],
        "found": found,
        "share": share,
        "weight": float(loop.limit.weight(run.config["num_steps"])),
    }
    return state


def _whole(loop: Loop) -> Mapping:
    """What adapters are added to in its own precision, read again where less of it is held."""
    held, wanted = loop.program.abstract_frozen, loop.program.abstract_params
    if restore.tree_table(held) == restore.tree_table(wanted):
        return loop.frozen
    own = loop.run.record["frozen"]
    return restore.restore_params(
        own["path"],
        own["step"],
        wanted,
        allow_cast=loop.run.config["checkpoint"]["allow_cast"],
    )


def _batches(loop: Loop, done: int) -> Generator[Batch, None, None]:
    """The batches from `done` to num_steps. Raises NoValidState when data can no longer be read."""
    config = loop.run.config
    with loop.loader.prefetch(done, config["data"]["prefetch_batches"]) as prefetched:
        for number in range(done, config["num_steps"]):
            loop.ledger.enter("data_wait")
            with loop.watch.waiting():
                try:
                    _, batch = next(prefetched)
                except (OSError, UserError) as error:
                    raise exits.NoValidState(f"batch {number} cannot be read: {error}") from error
            yield batch


def _observe(loop: Loop, done: int, figures: Mapping[str, Any]) -> dict:
    """Reads the figures of update `done` from the device, shows them around, and returns its row,
    which is written where it is due."""
    means = rows.means(figures)
    with loop.run.data_check.before_blame():
        loop.run.observers.after_step(done, means)
    row = loop.rows.make(done, means)
    # An evaluation writes the row, with its own figures in it.
    if loop.rows.is_due(done) and not duration.is_evaluation_due(loop.run.config, done):
        loop.run.write_row(row)
    return row


def _meta(loop: Loop, done: int, row: dict) -> dict:
    return {**provenance.meta(loop.run, loop.rows, done, row), limit.NAME: loop.limit.state()}


def _act(loop: Loop, wish: wishes.Wish, state: dict, done: int, row: dict) -> dict:
    """Saves, then stops or evaluates as is wished; the row of the step. Raises Preempted."""
    with loop.ledger.phase("data_wait"):
        loop.run.settle_data(done)
    with loop.ledger.phase("save"):
        loop.saver.save(done, state, _meta(loop, done, row))
        loop.wishes.saved()
        if wish.stop:
            loop.saver.wait_together()
    loop.run.observers.at_save(done)
    if wish.stop:
        loop.run.metrics.flush()
        raise loop.interrupts.preempted()
    return loop.evaluate(state, done, row) if wish.evaluate else row
