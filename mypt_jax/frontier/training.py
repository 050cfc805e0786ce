"""The runs of a comparison: every recipe at several rates and seeds, from one base, in equal steps.

DIR/runs/RECIPE/rate=1,seed=1337/STAGE
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from data_pipeline.errors import UserError
from mypt_jax.chain import stages, standing
from mypt_jax.frontier import recipes
from mypt_jax.runs import layout
from mypt_jax.schema import overrides, parents, stage_file, together, values
from mypt_jax.sweep import processes
from mypt_jax.sweep.trials import Trial

STOPPED = processes.PREEMPTED
# Of every run, unless said otherwise: judged at its end alone, by what the comparison measures.
_QUIET = {
    "guard.action": "warn",
    "eval.drift": "off",
    "eval.every_steps": 10**9,
    "log.trackers": (),
}


class Plan(NamedTuple):
    """What all runs of a comparison share."""

    base: str  # run
    size: str  # what follows a stage file's colon
    out_dir: str
    flags: tuple[str, ...]  # --config.KEY=VALUE of every stage
    num_steps: int = 0  # of every result; 0: those of adapt


class Candidate(NamedTuple):
    """A recipe at one rate with one seed: `runs` are its stages, parents first."""

    recipe: str
    rate: float  # factor on the stage files' rates
    seed: int
    runs: Mapping[str, Trial]

    def __hash__(self) -> int:
        return hash((self.recipe, self.rate, self.seed))

    @property
    def result(self) -> str:
        return [*self.runs.values()][-1].workdir

    @property
    def is_finished(self) -> bool:
        return all(standing.finished(one.workdir) for one in self.runs.values())


def candidate(
    plan: Plan, name: str, recipe: recipes.Recipe, *, rate: float, seed: int, samples: str
) -> Candidate:
    """Its runs, with all values checked. Raises UserError."""
    place = layout.join(plan.out_dir, "runs", name, f"rate={rate:g},seed={seed}")
    # The result of every recipe takes the steps of adapt; what only a soup needs comes on top.
    budget = plan.num_steps or _load(plan, recipes.Stage("adapt")).num_steps
    share = budget / sum(_load(plan, stage).num_steps for stage in recipe.needed)
    runs: dict[str, Trial] = {}
    said = {*map(_key, plan.flags)}
    for stage in recipe.stages:
        config = _load(plan, stage)
        own = {
            **{key: value for key, value in _QUIET.items() if key not in said},
            "workdir": layout.join(place, stage.name),
            "init_from": runs[stage.parent].workdir if stage.parent else plan.base,
            "seed": seed,
            "num_steps": max(1, round(config.num_steps * share)),
            "optim.warmup_steps": _warmup(config, share),
            "optim.peak_lr": float(f"{config.optim.peak_lr * stage.rate * rate:.6g}"),
            **stage.values,
        }
        runs[stage.name] = _trial(plan, stage, own, samples)
    return Candidate(name, rate, seed, runs)


def _load(plan: Plan, stage: recipes.Stage) -> ConfigDict:
    return stage_file.load(stage.spec(plan.size))


def _warmup(config: ConfigDict, share: float) -> float:
    warmup = config.optim.warmup_steps
    return warmup if warmup < 1 else float(max(1, round(warmup * share)))


def _trial(plan: Plan, stage: recipes.Stage, own: Mapping, samples: str) -> Trial:
    filled = {
        key: (samples,) if value == (recipes.SAMPLES,) else value for key, value in own.items()
    }
    arguments = (
        f"--config={stage.spec(plan.size)}",
        # The recipe goes before what is said to all; a tuple given twice would add up.
        *(flag for flag in plan.flags if _key(flag) not in own),
        *(f"--config.{key}={value}" for key, value in filled.items()),
    )
    given = overrides.read(arguments)
    config = given.config
    values.check_values(config)
    together.check(config, given.overridden)
    run = stages.Stage(stage.name, own["workdir"], own["init_from"], "", config)
    return Trial(run, {"stage": stage.name}, arguments)


def data(plan: Plan) -> Mapping:
    """config.data as it is said to all, without what a recipe takes in its place."""
    return overrides.read(
        (f"--config={recipes.Stage('adapt').spec(plan.size)}", *plan.flags)
    ).config["data"]


def _key(flag: str) -> str:
    """objective.replay of --config.objective.replay=kl, in all ways in which absl reads it."""
    return re.sub(r"--?(no)?config\.", "", flag.partition("=")[0])


def check_flags(plan: Plan, candidates: Iterable[Candidate]) -> None:
    """Raises UserError for a flag that no run takes: the comparison or every recipe sets it."""
    taken = {flag for one in candidates for run in one.runs.values() for flag in run.arguments}
    for flag in plan.flags:
        if _key(flag) == "data.mixture":
            raise UserError(
                f"{flag}: recipes have shares of replay of their own, and all are measured on one "
                "text: give data.domain and data.general"
            )
        if flag not in taken:
            raise UserError(
                f"{flag} is given, and the comparison sets {_key(flag)} in every run; see --rates, "
                "--num_steps, --first_seed, --base, --out_dir and --recipes"
            )


def train(candidates: Sequence[Candidate], *, parallel: int) -> Iterator[tuple[Trial, int]]:
    """Trains what is not finished, parents before children; yields each run with its exit code.
    A run whose parent ended without a result is left out."""
    for number in range(max((len(one.runs) for one in candidates), default=0)):
        due = [[*one.runs.values()][number] for one in candidates if number < len(one.runs)]
        todo = [one for one in due if standing.has_parent(one.stage) and not one.is_done()]
        for one in todo:
            os.makedirs(os.path.dirname(one.workdir), exist_ok=True)
        yield from processes.train(todo, parallel=parallel)


def check_base(plan: Plan, candidates: Iterable[Candidate]) -> None:
    """Raises UserError where the base is not a finished run, or one that a recipe cannot start
    from."""
    if not standing.finished(plan.base):
        raise UserError(f"--base={plan.base} is not a finished run; {layout.make_hint(plan.base)}")
    for one in candidates:
        for run in one.runs.values():
            if run.stage.parent == plan.base and "://" not in plan.base:
                parents.check(run.stage.config, plan.base)


def finished(candidates: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in candidates if one.is_finished]
