"""The forgetting guard at work: measures at an evaluation, decides, and says where a run ends."""

import os
from collections.abc import Mapping

import numpy as np

from mypt_jax import exits, guide
from mypt_jax.evaluate import losses
from mypt_jax.runs import evaluations, layout
from mypt_jax.train.run import Run


def measure(run: Run, row: dict, scores: dict, path: str) -> dict:
    """Keys forgetting/* and guard/action of an evaluation's row: against base, and the parent.

    Over the general sources that both runs measured on the same windows, weighted by their tokens;
    the standard error is that of the difference, paired over documents. An ancestor of which only
    the losses are left is compared by the names of its sources; one whose evaluation is damaged is
    not.
    """
    base = run.record["baseline"]
    if base and (reason := _damage(base)):
        run.note(f"warning: forgetting is not measured: {reason}")
        return {}
    found = _against(base, row, scores, path)
    if found is None:
        if base and any(key.startswith("general/") for key in base["eval"]):
            run.note(
                f"warning: forgetting is not measured: {base['path']} evaluated other general "
                "windows than this run (eval.windows, eval.min_windows, the datasets)"
            )
        return {}
    base_loss, own, stderr = found
    keys = {**guide.forgetting(own, base_loss), "forgetting/base_loss": base_loss}
    keys["forgetting/stderr"] = stderr
    parent = run.record["ancestors"][-1] if run.record["ancestors"] else None
    found = _against(parent, row, scores, path)
    if found is not None:
        keys["forgetting/parent_nats"] = found[1] - found[0]
        keys["forgetting/parent_stderr"] = found[2]
    action, line = decide(run, keys)
    if action:
        since = ""
        if "forgetting/parent_nats" in keys:
            since = f", {keys['forgetting/parent_nats']:+.4f} nats since the parent"
        run.note(f"{'warning' if action == 'warn' else 'guard'}: {line}{since}")
    return {**keys, "guard/action": action}


def _damage(ancestor: dict) -> str:
    """Why the evaluation that an ancestor left behind says nothing; "" also where it left none."""
    return evaluations.damage(layout.eval_file(ancestor["path"], ancestor["step"]))


def _against(ancestor: dict | None, row: dict, scores: dict, path: str):
    """(its loss, own loss, stderr) over the general sources that both measured, or None."""
    if not ancestor or _damage(ancestor):
        return None
    other = layout.eval_file(ancestor["path"], ancestor["step"])
    has_sums = os.path.exists(other)
    common = [
        key
        for key in scores
        if key.startswith("general/")
        and key in ancestor["eval"]
        # Another draw of windows differs by more than a stage forgets.
        and (not has_sums or losses.paired_difference(path, other, key) is not None)
    ]
    if not common:
        return None
    weights = np.array([scores[key].tokens for key in common], float)
    weights /= weights.sum()
    own = float(weights @ [row[f"eval/{key}/loss"] for key in common])
    theirs = float(weights @ [ancestor["eval"][key] for key in common])
    if not np.isfinite(own):
        return None
    paired = losses.paired_difference(path, other, "general") if has_sums else None
    return theirs, own, paired[1] if paired else row["eval/general/stderr"]


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
