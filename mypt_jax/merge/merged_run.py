"""A merged run on the disk: a finished run whose parameters are a weighted sum of other runs'."""

import contextlib
import datetime
import os
import time
import uuid
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.checkpoint import save
from mypt_jax.merge import line as lines
from mypt_jax.merge import parents as merged_parents
from mypt_jax.merge import weights
from mypt_jax.merge.evaluation import Evaluator
from mypt_jax.merge.parents import Parent
from mypt_jax.monitor import data_check, goodput, metrics, observer, preemption
from mypt_jax.runs import ancestry, drawn, layout, lease, lease_place, lineage, own_tokenizer
from mypt_jax.storage import mirror
from mypt_jax.train import evaluation, finish, provenance
from mypt_jax.train.run import Run

STEP = 0  # the one that a merged run has, and which is pinned


def check_out(out: str) -> None:
    """Raises UserError where nothing may be written."""
    if "://" in out:
        raise UserError(f"--out={out}: a merged run is written to a directory on this machine")
    layout.check_name(out, what="--out")
    if os.path.lexists(out):
        raise UserError(f"--out={out} exists: name another directory, or remove it")


def write(
    out: str, parents: Sequence[Parent], evaluator: Evaluator, *, line: lines.Line | None
) -> dict:
    """Merges the parents by their weights, evaluates and writes the run; returns its finished.json.

    `line`: one that the run is a point of, kept with it. Until finished.json is there the run is
    not finished, and no stage starts from it.
    """
    # Before the directory is made: parents that do not fit leave nothing behind.
    params = weights.combine([(one.weight, one.params) for one in parents])
    config = _config(out, parents, evaluator)
    record = _record(config, parents, evaluator)
    interrupts = preemption.Interrupts()
    with contextlib.ExitStack() as stack:
        stack.callback(interrupts.close)
        stack.enter_context(exits.storage())
        checked = data_check.DataCheck(
            [(one, "val") for one in evaluator.evaluated], timeout_secs=0.0
        )
        stack.callback(checked.close)
        checked.start()
        run = _open(config, record, checked, stack)
        row = _evaluate(run, evaluator, params, interrupts)
        if line is not None:
            lines.keep(out, line)
        checkpointer = save.Checkpointer(out, keep=lambda steps: {*steps})
        stack.callback(checkpointer.close)
        state = {"params": params, "step": np.int32(STEP)}
        checkpointer.save(STEP, state, {"lineage": run.record, "merged": True})
        checkpointer.wait()
        own_tokenizer.keep(out, config["data"]["tokenizer"])
        lineage.write_json(layout.join(out, layout.CONFIG), config)
        run.write_lineage()
        done = {
            "step": STEP,
            "run_id": run.record["run_id"],
            "params_sha256": lineage.params_sha256(params),
            "wall_secs": run.wall_secs(),
            "eval": layout.losses(row),
            "report": finish.reported(out, STEP),
        }
        # Last of all: until it is there, no stage starts from what may be half a run.
        lineage.write_json(layout.join(out, layout.FINISHED), done)
    return done


def _open(
    config: dict, record: dict, checked: data_check.DataCheck, stack: contextlib.ExitStack
) -> Run:
    """The run, owned by this process."""
    workdir = config["workdir"]
    os.makedirs(workdir)
    owned = lease.Lease(lease_place.InDirectory(workdir))
    owned.acquire()
    stack.callback(owned.release)
    run = Run(
        config=config,
        parent=None,
        record=record,
        lease=owned,
        mirror=mirror.Mirror(workdir),
        data_check=checked,
        metrics=metrics.Metrics(workdir, is_writer=True, num_steps=STEP),
        observers=observer.Observers(),
        started=time.monotonic(),
    )
    stack.callback(run.metrics.close)
    return run


def _evaluate(
    run: Run, evaluator: Evaluator, params: Mapping, interrupts: preemption.Interrupts
) -> dict:
    """The row of the run's only step, as the end of a stage is evaluated; {} without windows."""
    for note in evaluator.notes:
        run.note(note)
    if not evaluator.plan:
        return {}
    ledger = goodput.Ledger(
        run.workdir, started=time.time(), is_writer=True, is_owner=lambda: not run.lease.is_lost
    )
    measure = evaluation.Evaluation(
        run,
        evaluator.program,
        plan=evaluator.plan,
        # Of no mixture: nothing was trained on any.
        shares={},
        frozen={},
        domain_epochs=0.0,
        token_bytes=evaluator.token_bytes,
        ledger=ledger,
        interrupts=interrupts,
    )
    row = measure({"params": evaluator.place(params)}, STEP, {})
    run.settle_data(STEP)
    run.metrics.flush()
    ledger.close()
    return row


def _config(out: str, parents: Sequence[Parent], evaluator: Evaluator) -> dict:
    """The parents' architecture and data; nothing was trained."""
    config = evaluator.config
    names = ", ".join(f"{one.name}:{one.weight:g}" for one in parents)
    return {
        **config,
        "stage": os.path.basename(os.path.normpath(out)),
        "workdir": out,
        "init_from": f"{layout.MERGE_OF}{names}",
        "num_steps": STEP,
        "domain_epochs": 0.0,
        "optim": {**config["optim"], "peak_lr": 0.0, "average_ratio": 0.0, "moments": "fresh"},
        "guard": {**config["guard"], "action": "warn"},  # a sum is measured, and never stopped
        "checkpoint": {**config["checkpoint"], "keep_optimizer": False},
    }


def _record(config: Mapping, parents: Sequence[Parent], evaluator: Evaluator) -> dict:
    """The lineage: a child of the last ancestor that all parents share, as far as descent goes."""
    shared = merged_parents.shared_ancestors(parents)
    record = lineage.new(
        config=config,
        run_id=uuid.uuid4().hex[:12],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data={},
        tokenizer=parents[0].record["tokenizer"],
    )
    return {
        **record,
        "parent": lineage.identity(shared[-1]),
        "ancestors": shared,
        "drawn": drawn.furthest([drawn.table(one.record, one.config) for one in parents]),
        "numerics": provenance.numerics(config, evaluator.program),
        "eval_plan": evaluator.eval_plan,
        "merged_from": [_source(one, shared) for one in parents],
    }


def _source(parent: Parent, shared: Sequence[Mapping]) -> dict:
    """What the lineage keeps of a parent: also what it was trained on beyond the shared part."""
    since = ancestry.since(parent.family, shared)
    return {**parent.own, "weight": parent.weight, "since": since}
