"""The guide's judgements as rules: verdicts, the decision matrix, one advice line per run.

Source: MyPT domain adaptation guide, "Decision Matrix", "Target Metrics", "Key Learnings" and the
challenge table. Its absolute thresholds (2.25, 2.35, 2.40, 2.50 nats with a baseline of 2.23) are
used as shares of the baseline, so that they hold for any model and corpus.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mypt_jax import guide
from mypt_jax.report import standing
from mypt_jax.report.run import Run
from mypt_jax.runs.comparison import Difference

# What the user may want, and how much forgetting that allows.
PRIORITIES = (("preserve general", 1.0), ("balanced", 5.5), ("maximum domain", 8.0))

MUCH_REPLAY = 0.30  # the guide's largest share, for the foundation
# The guide's stages lowered the domain loss by 5.4 % (v5) to 22 % (v3) of their start.
LITTLE_LEARNED = 2.5


class Choice(NamedTuple):
    """What to take for a priority, of the runs whose domain losses are of the same text."""

    priority: str
    limit: float  # largest forgetting, %
    run: Run | None
    among: str  # "", or of which runs, where not all can be compared


def verdict(run: Run) -> str:
    if not run.is_domain_stage:
        return "baseline"
    forgetting = run.against_baseline("general")
    if forgetting is None:
        return "not evaluated"
    if not isinstance(forgetting, Difference):
        return forgetting.word
    return guide.verdict(forgetting.percent / 100)


def decide(runs: Sequence[Run]) -> list[Choice]:
    """The decision matrix, once for each group of runs that can be compared."""
    candidates = [
        run
        for run in runs
        if run.is_domain_stage
        and run.finished
        and isinstance(run.against_baseline("general"), Difference)
    ]
    groups = standing.groups(candidates, "domain")
    choices = []
    for group in groups or [[]]:
        among = f" among {', '.join(run.name for run in group)}" if len(groups) > 1 else ""
        for priority, limit in PRIORITIES:
            inside = [run for run in group if run.against_baseline("general").percent <= limit]
            best = min(inside, key=lambda run: run.final["domain"], default=None)
            choices.append(Choice(priority, limit, best, among))
    return choices


def advice(run: Run) -> str:
    """One line from the guide's challenge table: rate too low, rate too high, too much replay."""
    learned, forgetting = run.against_start("domain"), run.against_baseline("general")
    now = f"peak_lr {run.peak_lr:g}, replay_ratio {run.replay_ratio:g}"
    if not run.is_domain_stage:
        return "the baseline that the domain stages are measured against"
    if not run.finished:
        return f"not finished (step {run.step} of {run.num_steps}): run the same command to go on"
    if learned is None or forgetting is None:
        return "evaluated on one role only: give data.domain and data.general both"
    for change in (learned, forgetting):
        if not isinstance(change, Difference):
            return change.reason
    if run.merged_from:
        return "a weighted sum of runs, nothing was trained: the decision matrix has it among them"
    if forgetting.percent > PRIORITIES[-1][1]:
        return (
            f"rate too high or replay too little for this much forgetting ({now}): add replay first"
        )
    lost = run.against_start("general")
    has_lost = isinstance(lost, Difference) and lost.percent > -learned.percent
    if learned.percent > -LITTLE_LEARNED and has_lost:
        parent = run.parent.name if run.parent else "its parent"
        return (
            f"more forgotten than learned here, domain {learned.percent:+.1f} % and general "
            f"{lost.percent:+.1f} % ({now}): {parent} may serve better"
        )
    if learned.percent > -LITTLE_LEARNED and run.replay_ratio > MUCH_REPLAY:
        return f"replay dilutes the domain ({now}): reduce replay_ratio"
    if learned.percent > -LITTLE_LEARNED:
        return f"rate too low, the domain hardly learned ({now}): raise peak_lr"
    if forgetting.percent <= PRIORITIES[0][1] and run.replay_ratio >= MUCH_REPLAY:
        return f"a safe foundation ({now}): branch from it with a higher peak_lr or less replay"
    return f"learns and preserves within the guide's range ({now}): keep"


def warnings(run: Run) -> list[str]:
    """What a reader of this run's numbers should know."""
    found = []
    is_trained = run.is_domain_stage and not run.merged_from
    if is_trained and run.replay_ratio < guide.LOW_REPLAY:
        found.append(
            f"{run.name}: replay_ratio {run.replay_ratio:g} is under {guide.LOW_REPLAY:g}: "
            "risk of catastrophic forgetting"
        )
    parent = run.record["parent"]
    for recorded, one in [(parent, run.parent), *zip(run.merged_from, run.merged, strict=True)]:
        done = one.finished if one is not None else None
        if (
            done
            and done.get("step") == recorded["step"]
            and done.get("params_sha256") != recorded["params_sha256"]
        ):
            found.append(f"{run.name}: its parent {one.name} was trained again since")
    if run.is_domain_stage and run.parent is None:
        found.append(f"{run.name}: its parent {parent['path']} is not under this directory")
    for reason in run.damaged_evaluations():
        found.append(f"{run.name}: not compared: {reason}")
    if run.damage:
        mended = "" if run.finished else "; the next start of the run removes that"
        found.append(f"{run.name}: {run.damage}{mended}")
    return found + [f"{run.name}: {note}" for note in run.record.get("notes", [])]
