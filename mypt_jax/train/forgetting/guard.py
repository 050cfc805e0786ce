"""The forgetting guard at work: measures at an evaluation, decides, and says where a run ends."""

from collections.abc import Mapping

from data_pipeline.batches.eval_windows import REPORT
from data_pipeline.batches.mixture import BEHAVIOUR
from mypt_jax import exits, guide
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.train.run import Run

# What the base knew before: {role: how the keys of its change begin}. General text, and the base's
# own words, which it would still write if nothing were forgotten.
WATCHED = {"general": "forgetting", BEHAVIOUR: "behaviour"}


def measure(run: Run, own: Evaluation, base: Evaluation) -> dict:
    """Keys forgetting/*, behaviour/* and guard/action of an evaluation's row: against base, and the
    parent.

    Over the sources of a role that both measured on the same windows, weighted by their tokens; the
    standard error is that of the difference, paired over documents.
    """
    if not run.record["ancestors"]:
        return {}
    keys: dict = {}
    for role, name in WATCHED.items():
        if own.of(role):
            keys |= _changes(run, own, base, role, name)
    if not keys:
        return {}
    actions = []
    for name in _measured(keys):
        action, line = decide(run, keys, name)
        actions.append(action)
        if action:
            since = ""
            if f"{name}/parent_nats" in keys:
                since = f", {keys[f'{name}/parent_nats']:+.4f} nats since the parent"
            run.note(f"{'warning' if action == 'warn' else 'guard'}: {line}{since}")
    ends = [action for action in actions if action not in ("", "warn")]
    return {**keys, "guard/action": next(iter(ends or filter(None, actions)), "")}


def _changes(run: Run, own: Evaluation, base: Evaluation, role: str, name: str) -> dict:
    found = comparison.compare(own, base, role)
    if isinstance(found, comparison.Refusal):
        run.note(f"warning: no {name}, and no guard of it: {found.reason}")
        return {}
    keys = {
        **_against(found, name),
        f"{name}/base_loss": found.start,
        f"{name}/stderr": found.stderr,
    }
    ancestor = run.record["ancestors"][-1]
    parent = evaluations.read(layout.eval_file(ancestor["path"], ancestor["step"]))
    found = comparison.compare(own, parent, role)
    if isinstance(found, comparison.Difference):
        keys[f"{name}/parent_nats"] = found.nats
        keys[f"{name}/parent_stderr"] = found.stderr
    # On the half that is kept for the report, where it was evaluated.
    found = comparison.compare(own.reported, base, role)
    if own.is_halved(role) and isinstance(found, comparison.Difference):
        kept = {**_against(found, name), f"{name}/stderr": found.stderr}
        keys |= {f"{REPORT}{key}": value for key, value in kept.items()}
    return keys


def _against(found: comparison.Difference, name: str) -> dict[str, float]:
    return {f"{name}/nats": found.nats, f"{name}/percent": found.percent}


def _measured(row: Mapping) -> list[str]:
    """Which changes a row has a figure of."""
    return [name for name in WATCHED.values() if row.get(f"{name}/base_loss") is not None]


def decide(run: Run, row: Mapping, name: str) -> tuple[str, str]:
    """(what the guard wants, the line that says why) for a row, by this start's config."""
    base_loss = row[f"{name}/base_loss"]
    stderr = row[f"{name}/stderr"]
    return guide.judge(
        loss=base_loss + row[f"{name}/nats"],
        baseline_loss=base_loss,
        stderr=float("nan") if stderr is None else stderr,
        action=run.config["guard"]["action"],
        max_forgetting=run.config["guard"]["max_forgetting"],
        name=name,
    )


def is_over(run: Run, row: Mapping) -> bool:
    """Whether a row ends the run: also one that an earlier start has written."""
    return bool(_over(run, row))


def _over(run: Run, row: Mapping) -> list[str]:
    """The changes that end the run."""
    return [name for name in _measured(row) if decide(run, row, name)[0] in ("stop", "rollback")]


def act(run: Run, done: int, row: Mapping) -> int | None:
    """Ends the run as guard.action says; the step to finish with, None to go on.

    Raises ForgettingStop.
    """
    over = _over(run, row)
    if not over:
        return None
    action, limit = run.config["guard"]["action"], run.config["guard"]["max_forgetting"]
    line = (
        f"step {done}: {over[0]} {row[f'{over[0]}/percent']:+.1f} % is over "
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
    """Saved steps at which every change that was measured is at most `limit`."""
    saved = layout.steps(run.workdir)
    rows = [row for row in layout.metrics(run.workdir) if row["step"] in saved and _measured(row)]
    return [
        row["step"]
        for row in rows
        if all(row[f"{name}/percent"] <= 100 * limit for name in _measured(row))
    ]
