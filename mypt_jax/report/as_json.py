"""The report's numbers, unrounded, for other programs."""

import math
from collections.abc import Sequence

from data_pipeline.batches import mixture
from mypt_jax.report import rules, tables
from mypt_jax.report.runs import Difference, Run


def _number(value: object) -> object:
    """JSON has no NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _change(change: Difference | None) -> dict | None:
    if change is None:
        return None
    fields = {"start": change.start, "final": change.final, "stderr": change.stderr}
    fields |= {"nats": change.nats, "percent": change.percent}
    return {key: _number(value) for key, value in fields.items()}


def as_json(groups: Sequence[Sequence[Run]]) -> dict:
    """The content of report.json."""
    result = []
    for runs in groups:
        result.append(
            {
                "baseline": {k: _number(v) for k, v in tables.baseline_of(runs).items()},
                "runs": [_run_json(run) for run in runs],
                "decision": {p: run and run.name for p, _, run in rules.decide(runs)},
            }
        )
    return {"schema": 1, "lineages": result}


def _run_json(run: Run) -> dict:
    return {
        "run": run.name,
        "stage": run.stage,
        "path": str(run.path),
        "init_from": tables.init_text(run),
        "peak_lr": run.peak_lr,
        "replay_ratio": run.replay_ratio,
        "step": run.step,
        "num_steps": run.num_steps,
        "finished": bool(run.finished),
        "losses": {key: _number(value) for key, value in run.final.items()},
        "from_start": {name: _change(run.against_start(name)) for name in ("val", *mixture.ROLES)},
        "from_baseline": {role: _change(run.against_baseline(role)) for role in mixture.ROLES},
        "verdict": rules.verdict(run),
        "advice": rules.advice(run),
        "warnings": rules.warnings(run),
        "tokens_by_source": dict(run.record["tokens_by_source"]),
        "time_spent": run.time_spent,
    }
