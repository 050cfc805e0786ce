"""The report's numbers, unrounded, for other programs."""

import math
from collections.abc import Mapping, Sequence

from data_pipeline.batches import mixture
from mypt_jax.report import cells, rules, standing, tables
from mypt_jax.report.run import MIXTURE, Run
from mypt_jax.runs import lineage
from mypt_jax.runs.comparison import Refusal


def _number(value: object) -> object:
    """JSON has no NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _change(change: cells.Change) -> dict | None:
    """None where the run was not evaluated so; without figures, but with the reason, where they
    would compare different text."""
    if change is None:
        return None
    fields = ("start", "final", "stderr", "nats", "percent")
    if isinstance(change, Refusal):
        return {**dict.fromkeys(fields), "reason": change.reason}
    found = {name: _number(getattr(change, name)) for name in fields}
    return {**found, "sources": list(change.sources), "left_out": dict(change.left_out)}


def _measured(found: tuple[float, float] | None) -> dict | None:
    return found and dict(zip(("mean", "stderr"), map(_number, found), strict=True))


def as_json(groups: Sequence[Sequence[Run]], *, left_out: Sequence[str] = ()) -> dict:
    """The content of report.json; `left_out`: a line on each run that could not be read."""
    lineages = [_lineage_json(runs) for runs in groups]
    return {"schema": 1, "lineages": lineages, "left_out": list(left_out)}


def _lineage_json(runs: Sequence[Run]) -> dict:
    choices = rules.decide(runs)
    decisions: dict[str, dict] = {}
    for choice in choices:
        chosen = choice.run and choice.run.name
        decisions.setdefault(choice.among.strip(), {})[choice.priority] = chosen
    apart = {role: standing.apart(runs, role) for role in tables.roles_of(runs)}
    return {
        "baseline": {k: _number(v) for k, v in tables.baseline_of(runs).items()},
        "runs": [_run_json(run, apart, choices) for run in runs],
        "decision": next(iter(decisions.values())),  # among most runs, where there are several
        "decisions": decisions,
    }


def _run_json(
    run: Run, apart: Mapping[str, Mapping[str, str]], choices: Sequence[rules.Choice]
) -> dict:
    roles = tables.roles_of([run])
    return {
        "run": run.name,
        "stage": run.stage,
        "path": str(run.path),
        "init_from": cells.init_text(run),
        "merged_from": [
            {**lineage.identity(one), "weight": one["weight"]} for one in run.merged_from
        ],
        "line": [
            {"at": at, **{role: point.mean(role) for role in mixture.ROLES}}
            for at, point in run.line
        ],
        "peak_lr": run.peak_lr,
        "replay_ratio": run.replay_ratio,
        "step": run.step,
        "num_steps": run.num_steps,
        "finished": bool(run.finished),
        "losses": {key: _number(value) for key, value in run.final.items()},
        # Why a role's loss is not of the text that most runs were measured on.
        "apart": {role: why[run.name] for role, why in apart.items() if run.name in why},
        "from_start": {name: _change(run.against_start(name)) for name in (MIXTURE, *roles)},
        "from_baseline": {role: _change(run.against_baseline(role)) for role in roles},
        "drift": {role: _measured(run.drift(role)) for role in roles},
        # Whatever an evaluation measures beside the loss, and an objective tells, by its own name.
        "measures": {
            role: {name: _measured(found) for name, found in run.measures(role).items()}
            for role in roles
        },
        "objective": {name: _number(value) for name, value in run.told.items()},
        "verdict": rules.verdict(run),
        "advice": rules.advice(run, choices),
        "warnings": rules.warnings(run),
        "tokens_by_source": dict(run.record["tokens_by_source"]),
        "recited": [
            {
                "data": one.data,
                "split": one.split,
                "exact": one.share,
                "base_exact": one.base_share,
                "documents": one.run["documents"],
            }
            for one in run.recited[1]
        ],
        "time_spent": run.time_spent,
    }
