"""A run's result: the step that is pinned, finished.json, and what stays on the disk."""

import math
from collections.abc import Mapping

from data_pipeline.batches.eval_windows import REPORT
from data_pipeline.errors import UserError
from mypt_jax.checkpoint import restore, retention
from mypt_jax.distributed import coordination
from mypt_jax.monitor import goodput, metrics
from mypt_jax.runs import evaluations, layout, lineage
from mypt_jax.schema import changes, recorded
from mypt_jax.storage import mirror
from mypt_jax.train import provenance
from mypt_jax.train.forgetting import limit
from mypt_jax.train.loop import Loop


def is_there(config: dict) -> bool:
    """Whether there is nothing left to do. Raises UserError where there is, but no longer can."""
    finished = layout.finished(config["workdir"])
    if finished is None:
        return False
    before = recorded.config(config["workdir"])
    link = mirror.Mirror(config["workdir"])
    if changes.asks_for_more(finished, config):
        limit.check_longer(layout.record(config["workdir"]), config["workdir"])
        rest = layout.join(layout.step_dir("", finished["step"]), "rest", "")
        if not (layout.has_optimizer(config["workdir"], finished["step"]) or link.holds(rest)):
            _check_from_parameters(before, finished, config)
        return False
    changes.check_finished(before, config, step=finished["step"])
    if not before["checkpoint"]["keep_optimizer"]:
        retention.strip(config["workdir"])  # where the process that finished was killed
    if link.is_newest:
        link.push(lambda: None)  # nobody works on it
    unused = changes.without_effect(before, config)
    metrics.say(
        f"run {config['workdir']} is finished (step {finished['step']}); nothing to do"
        f"{f', also not for {changes.shown(unused)}' if unused else ''}"
    )
    return True


def _check_from_parameters(before: Mapping, finished: Mapping, config: Mapping) -> None:
    """Raises UserError where a run cannot go on from its parameters alone."""
    if why := changes.lost_with_optimizer(before):
        raise UserError(
            f"run {config['workdir']} finished at step {finished['step']} without keeping its "
            f"optimizer state (checkpoint.keep_optimizer), and {why}: num_steps "
            f"{config['num_steps']} wants another --config.workdir; a stage can start from "
            f"this one (--config.init_from={config['workdir']})"
        )


def pin(loop: Loop, kept: int, last: int) -> None:
    """Pins step `kept` of `last` as the run's result and writes finished.json.

    Optimizer state goes last: a kill before it leaves a finished run that is only too large.
    """
    run = loop.run
    run.settle_data(last)  # where there was nothing left to train
    run.metrics.flush()
    loop.saver.wait_together()
    if run.is_writer:
        _write_finished(loop, kept, last)
        run.push()  # before optimizer state is gone, and after
        loop.saver.finish(
            retention.of_finished(run.config, kept),
            keep_optimizer=run.config["checkpoint"]["keep_optimizer"],
        )
        run.push()
    coordination.barrier(
        "see the run finished", timeout_secs=run.config["distributed"]["save_timeout_secs"]
    )
    run.note(f"finished {run.workdir} at step {kept} in {run.wall_secs():.0f} s")


def _write_finished(loop: Loop, kept: int, last: int) -> None:
    run = loop.run
    run.lease.check()
    row = next((r for r in layout.metrics(run.workdir) if r["step"] == kept), {})
    digest = lineage.params_sha256(restore.restore_params(run.workdir, kept, None))
    provenance.count_windows(run, loop.loader, kept)
    run.write_lineage()
    summary, on_report = loop.ledger.summary(), reported(run.workdir, kept)
    finished = {
        "step": kept,
        "run_id": run.record["run_id"],
        "params_sha256": digest,
        "wall_secs": run.wall_secs(),
        "goodput": summary,
        "eval": layout.losses(row),
        "report": on_report,
    }
    if kept < last:
        finished["rolled_back_from"] = last
    lineage.write_json(layout.join(run.workdir, layout.FINISHED), finished)
    held = limit.line(run.workdir, kept, run.record)
    for line in (reported_line(on_report), held, loop.saver.cost(), goodput.line(summary)):
        if line:
            run.note(line)


def reported(workdir: str, step: int) -> dict[str, float]:
    """{"domain": loss, "domain/cwe": .., "general/drift": ..} on the windows that nothing was
    chosen on; {} of a run that kept none."""
    found = evaluations.read(layout.eval_file(workdir, step))
    kept = {key for key in found.sources if key.startswith(REPORT)}
    means = {}
    for name in sorted({*map(evaluations.role_of, kept), *kept}):
        plain = name.removeprefix(REPORT)
        means[plain] = found.mean(name)
        means[f"{plain}/drift"] = found.mean(name, "drift")
    return {n: mean for n, mean in means.items() if mean is not None and math.isfinite(mean)}


def reported_line(found: Mapping[str, float]) -> str:
    """What `reported` found, for the user; "" for nothing."""
    roles = [name for name in found if "/" not in name]
    shown = [f"{role} {found[role]:.4f}" for role in roles]
    moved = [role for role in roles if f"{role}/drift" in found]
    shown += [f"{role} drift {found[f'{role}/drift']:.4f}" for role in moved]
    return f"on text that nothing was chosen on: {', '.join(shown)} nats/token" if shown else ""
