"""The forgetting guard at work: measures at an evaluation, decides, and says where a run ends."""

from collections.abc import Mapping

from data_pipeline.batches.eval_windows import REPORT
from mypt_jax import exits, guide
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.train.run import Run


def measure(run: Run, own: Evaluation, base: Evaluation) -> dict:
    """Keys forgetting/* and guard/action of an evaluation's row: against base, and the parent.

    Over the general sources that both measured on the same windows, weighted by their tokens; the
    standard error is that of the difference, paired over documents.
    """
    ancestors = run.record["ancestors"]
    if not ancestors or not own.of("general"):
        return {}
    found = comparison.compare(own, base, "general")
    if isinstance(found, comparison.Refusal):
        run.note(f"warning: no forgetting, and no guard of it: {found.reason}")
        return {}
    keys = {**guide.forgetting(found.final, found.start), "forgetting/base_loss": found.start}
    keys["forgetting/stderr"] = found.stderr
    parent = evaluations.read(layout.eval_file(ancestors[-1]["path"], ancestors[-1]["step"]))
    found = comparison.compare(own, parent, "general")
    if isinstance(found, comparison.Difference):
        keys["forgetting/parent_nats"] = found.nats
        keys["forgetting/parent_stderr"] = found.stderr
    action, line = decide(run, keys)
    if action:
        since = ""
        if "forgetting/parent_nats" in keys:
            since = f", {keys['forgetting/parent_nats']:+.4f} nats since the parent"
        run.note(f"{'warning' if action == 'warn' else 'guard'}: {line}{since}")
    return {**keys, **_reported(own, base), "guard/action": action}


def _reported(own: Evaluation, base: Evaluation) -> dict[str, float]:
    """Forgetting on the half that is kept for the report, where it was evaluated."""
    found = comparison.compare(own.reported, base, "general")
    if own.reported is own or isinstance(found, comparison.Refusal):
        return {}
    keys = guide.forgetting(found.final, found.start) | {"forgetting/stderr": found.stderr}
    return {f"{REPORT}{key}": value for key, value in keys.items()}


def decide(run: Run, row: dict) -> tuple[str, str]:
    """(what the guard wants, the line that says why) for a row, by this start's config."""
    base_loss = row["forgetting/base_loss"]
    stderr = row["forgetting/stderr"]
    return guide.judge(
        general_loss=base_loss + row["forgetting/nats"],
        baseline_loss=base_loss,
        stderr=float("nan") if stderr is None else stderr,
        action=run.config["guard"]["action"],
        max_forgetting=run.config["guard"]["max_forgetting"],
    )


def is_over(run: Run, row: Mapping) -> bool:
    """Whether a row ends the run: also one that an earlier start has written."""
    has_figure = row.get("forgetting/base_loss") is not None
    return has_figure and decide(run, row)[0] in ("stop", "rollback")


def act(run: Run, done: int, row: Mapping) -> int | None:
    """Ends the run as guard.action says; the step to finish with, None to go on.

    Raises ForgettingStop.
    """
    if not is_over(run, row):
        return None
    action, limit = run.config["guard"]["action"], run.config["guard"]["max_forgetting"]
    line = (
        f"step {done}: forgetting {row['forgetting/percent']:+.1f} % is over "
        f"guard.max_forgetting {limit:g}"
    )
    note = f"guard {action}: {line}"
    if note not in run.record["notes"]:
        run.record["notes"].append(note)
    if run.is_writer:
        run.write_lineage()
        run.push()
    if action == "stop":
        raise exits.ForgettingStop(
            f"{line}; more replay, a lower rate, or --config.guard.action=warn"
        )
    inside = run.broadcast("see which steps are inside it", lambda: _inside(run, limit))
    if not inside:
        raise exits.ForgettingStop(f"{line}, and no saved step inside it to roll back to")
    run.note(f"guard: {line}: rolled back to step {max(inside)}")
    return max(inside)


def _inside(run: Run, limit: float) -> list[int]:
    """Saved steps with a forgetting of at most `limit`."""
    saved = layout.steps(run.workdir)
    return [
        row["step"]
        for row in layout.metrics(run.workdir)
        if row["step"] in saved
        and row.get("forgetting/percent") is not None
        and row["forgetting/percent"] <= 100 * limit
    ]
