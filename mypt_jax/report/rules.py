"""The guide's judgements as rules: verdicts, the decision matrix, one advice line per run.

Source: MyPT domain adaptation guide, "Decision Matrix", "Target Metrics", "Key Learnings" and the
challenge table. Its absolute thresholds are used as shares of the baseline (mypt_jax/guide.py), so
that they hold for any model and corpus.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mypt_jax import guide
from mypt_jax.report import cells
from mypt_jax.report.run import Run
from mypt_jax.runs import baselines, comparison
from mypt_jax.runs.comparison import Difference, Refusal
from mypt_jax.schema import changes

# What the user may want, and how much forgetting that allows.
_WANTED = ("preserve general", "balanced", "maximum domain")
PRIORITIES = tuple(zip(_WANTED, (limit for limit, _ in guide.VERDICTS), strict=False))

MUCH_REPLAY = 0.30  # the guide's largest share, for the foundation


class Choice(NamedTuple):
    """What to take for a priority, of the runs whose domain losses are of the same text."""

    priority: str
    limit: float  # largest forgetting, as a share
    run: Run | None
    among: str  # "", or of which runs, where not all can be compared

    @property
    def rule(self) -> str:
        """By what it was chosen; where the other half of val shows another figure, on which."""
        text = f"lowest domain loss with forgetting up to +{guide.percent(self.limit)}{self.among}"
        if self.run is None or not self.run.newest.is_halved("general"):
            return text
        change = self.run.chosen_against_baseline("general")
        assert isinstance(change, Difference), self.run.name  # else it would not be chosen
        return f"{text} ({change.percent:+.1f} % on the half of val that is chosen on)"


def verdict(run: Run) -> str:
    if not run.is_domain_stage:
        return "baseline"
    forgetting = run.against_baseline("general")
    if forgetting is None:
        return "not evaluated"
    if not isinstance(forgetting, Difference):
        return forgetting.word
    return guide.verdict(forgetting.share)


def decide(runs: Sequence[Run]) -> list[Choice]:
    """The decision matrix, once for each group of runs that can be compared; by the half of val
    that is chosen on."""
    candidates = [
        run
        for run in runs
        if run.is_domain_stage
        and run.finished
        and isinstance(run.chosen_against_baseline("general"), Difference)
    ]
    alike = comparison.alike([run.chosen_by for run in candidates], "domain")
    groups = [[candidates[number] for number in group] for group in alike]
    choices = []
    for group in groups or [[]]:
        among = f" among {', '.join(run.name for run in group)}" if len(groups) > 1 else ""
        for priority, limit in PRIORITIES:
            inside = [run for run in group if _keeps(run, limit)]
            best = min(inside, key=_chosen_loss, default=None)
            choices.append(Choice(priority, limit, best, among))
    return choices


def _keeps(run: Run, limit: float) -> bool:
    change = run.chosen_against_baseline("general")
    return isinstance(change, Difference) and change.share <= limit


def _chosen_loss(run: Run) -> float:
    loss = run.chosen_by.mean("domain")
    assert loss is not None, run.name  # of a group that measured it
    return loss


def advice(run: Run, choices: Sequence[Choice]) -> str:
    """One line on a run of a lineage whose decision matrix is `choices`, and never against it.

    From the guide's challenge table: rate too low, rate too high, too much replay; by what the run
    learned and forgot since its parent, each beyond two standard errors, where runs are chosen. The
    figures beside it are of the half that is kept for the report.
    """
    learned, forgetting = run.against_start("domain"), run.against_baseline("general")
    if not run.is_domain_stage:
        return "the baseline that the domain stages are measured against"
    if not run.finished:
        return f"not finished (step {run.step} of {run.num_steps}): run the same command to go on"
    if learned is None or forgetting is None:
        return "evaluated on one role only: give data.domain and data.general both"
    if isinstance(learned, Refusal):
        return learned.reason
    if isinstance(forgetting, Refusal):
        return forgetting.reason
    chosen = list(dict.fromkeys(choice.priority for choice in choices if choice.run is run))
    if run.merged_from:
        told = "a weighted sum of runs, nothing was trained"
        if not chosen:
            return f"{told}: the decision matrix has it among them"
        return f"keep: the decision matrix has it for {' and '.join(chosen)} ({told})"
    figures = _learned_text(learned, run.against_start("general"))
    learned, forgetting = (
        run.chosen_against_start("domain"),
        run.chosen_against_baseline("general"),
    )
    if isinstance(learned, Refusal):
        return learned.reason
    if isinstance(forgetting, Refusal):
        return forgetting.reason
    return _advice(run, chosen, learned, forgetting, figures)


def _advice(
    run: Run, chosen: list[str], learned: Difference, forgetting: Difference, figures: str
) -> str:
    parent = run.parent.name if run.parent else "its parent"
    lost = run.chosen_against_start("general")
    now = f"peak_lr {run.peak_lr:g}, replay_ratio {run.replay_ratio:g}"
    has_learned = learned.nats < -_noise(learned)
    held = _held_back(run)
    if chosen:
        remedy = held or "a higher peak_lr may teach it something"
        more = "" if has_learned else f"; {remedy} ({now})"
        return f"keep: the decision matrix has it for {' and '.join(chosen)} ({figures}){more}"
    if forgetting.share > PRIORITIES[-1][1]:
        return (
            f"rate too high or replay too little for this much forgetting ({now}): add replay first"
        )
    if isinstance(lost, Difference):
        noise = math.hypot(_noise(learned), _noise(lost))
        if lost.nats > max(_noise(lost), noise - learned.nats):
            return f"more forgotten than learned here ({figures}; {now}): {parent} may serve better"
    if not has_learned and held:
        return f"{held} ({figures}; {now})"
    if not has_learned and run.replay_ratio > MUCH_REPLAY:
        return f"replay dilutes the domain ({figures}; {now}): reduce replay_ratio"
    if not has_learned:
        return f"rate too low, the domain hardly learned ({figures}; {now}): raise peak_lr"
    if forgetting.share <= PRIORITIES[0][1] and run.replay_ratio >= MUCH_REPLAY:
        return f"a safe foundation ({now}): branch from it with a higher peak_lr or less replay"
    return f"learns and preserves within the guide's range ({figures})"


def _held_back(run: Run) -> str:
    """What a limit of forgetting took from a run at its end; "" where it took nothing."""
    if not changes.is_drawn_back(run.record):
        return ""
    limit = run.record["limit"]
    return (
        f"its limit of forgetting has left {limit['share']:.0%} of what it learned: a larger "
        f"objective.max_forgetting than {limit['budget']:g}, or a longer run"
    )


def _noise(change: Difference) -> float:
    """Two standard errors, within which a change is none; an unknown error counts as none."""
    return 2 * change.stderr if math.isfinite(change.stderr) else 0.0


def _learned_text(learned: Difference, lost: Difference | Refusal | None) -> str:
    """domain -0.108 +/- 0.010, general +0.058 +/- 0.020 nats: 1.9 +/- 0.7 learned per forgotten."""
    text = f"domain {cells.nats_text(learned)}"
    if not isinstance(lost, Difference):
        return f"{text} nats"
    text += f", general {cells.nats_text(lost)} nats"
    if learned.nats >= 0 or lost.nats <= _noise(lost) or not lost.nats:
        return text
    ratio = -learned.nats / lost.nats
    # Of a quotient; the two are of different documents, and so independent.
    error = ratio * math.hypot(learned.stderr / learned.nats, lost.stderr / lost.nats)
    bar = f" +/- {error:.1f}" if math.isfinite(error) else ""
    return f"{text}: {ratio:.1f}{bar} learned per forgotten"


def all_warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader of these runs' numbers should know; what is said of several, once."""
    of: dict[str, list[str]] = {}
    for run in runs:
        for line in warnings(run):
            of.setdefault(line.removeprefix(f"{run.name}: "), []).append(run.name)
    return [
        f"{names[0]}: {text}" if len(names) == 1 else f"{cells.listed(names)}: {text}"
        for text, names in of.items()
    ]


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
        if (
            one is not None
            and (done := one.finished)
            and done.get("step") == recorded["step"]
            and done.get("params_sha256") != recorded["params_sha256"]
        ):
            found.append(f"{run.name}: its parent {one.name} was trained again since")
    if run.is_domain_stage and run.parent is None and not baselines.is_same(parent["path"], parent):
        found.append(f"{run.name}: its parent {parent['path']} is neither here nor where it was")
    for reason in run.damaged_evaluations:
        found.append(f"{run.name}: not compared: {reason}")
    if run.damage:
        mended = "" if run.finished else "; the next start of the run removes that"
        found.append(f"{run.name}: {run.damage}{mended}")
    return found + [f"{run.name}: {note}" for note in run.record.get("notes", [])]
