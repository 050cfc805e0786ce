"""Every recipe at its own best rate, raw and at equal domain loss, as rows of one table."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from mypt_jax.checkpoint import restore
from mypt_jax.frontier import intervals, lines
from mypt_jax.frontier.points import Points
from mypt_jax.frontier.recipes import CHAIN, Recipe
from mypt_jax.frontier.training import Candidate
from mypt_jax.plan import costs
from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.schema import recorded

# What others forget less than, in a row: their general text, how far they move, their own words.
REFERENCE = "reference, raw"
BEST_CE = "best ce, treated"
BEST_CE_DRIFT = f"{BEST_CE}: drift"
BEST_CE_BEHAVIOUR = f"{BEST_CE}: behaviour"
_MEASURES = {
    REFERENCE: ("general", "nll"),
    BEST_CE: ("general", "nll"),
    BEST_CE_DRIFT: ("general", "drift"),
    BEST_CE_BEHAVIOUR: (mixture.BEHAVIOUR, "nll"),
}


class Row(NamedTuple):
    """One recipe in one form: what it was measured at, over seeds; nats/token, shares, FLOPs."""

    recipe: str
    form: str  # raw | line | soup
    rate: float
    seeds: tuple[int, ...]
    share: float | None  # of the way from the base, mean over seeds
    figures: Mapping[str, intervals.Interval]
    less: Mapping[str, intervals.Interval]  # per cent less than another row, by _MEASURES
    flops: float  # of one result
    flops_tried: float  # with every trial of it
    lines: tuple[tuple[lines.Place, ...], ...]  # of each seed, by the half that is chosen on


class _Form(NamedTuple):
    recipe: str
    form: str
    candidates: list[Candidate]
    trained: list[Mapping]  # parameters, per seed
    lines: list[list[lines.Place]]


def choose_rates(
    points: Points, tried: Sequence[Candidate], against: str
) -> tuple[float, dict[str, float]]:
    """(the domain loss at which recipes are compared; {recipe: its best rate}).

    It is the one of the recipe `against`, raw and at rate 1. By the first seed, on the half that is
    chosen on. Best: least general loss at that domain loss, on the line; where no rate reaches it,
    the least domain loss.
    """
    ends = {(one.recipe, one.rate): walk_of(points, [one.result]) for one in tried}
    if (against, 1.0) not in ends:
        raise UserError(f"raw {against} at rate 1 is what all are compared with: train it first")
    target = ends[against, 1.0][-1].domain
    best: dict[str, float] = {}
    for name in dict.fromkeys(one.recipe for one in tried):
        found = {rate: line for (recipe, rate), line in ends.items() if recipe == name}
        best[name] = min(
            found,
            key=lambda rate: (lines.general_at(found[rate], target), found[rate][-1].domain),
        )
    if CHAIN in best:
        best[CHAIN] = 1.0  # the guide's own rates are what is compared with
    return target, best


def walk_of(points: Points, runs: Sequence[str]) -> list[lines.Place]:
    """The line to the result of a run, or to the mean of several."""
    return lines.walk(points, _params(runs))


def _params(runs: Sequence[str]) -> Mapping:
    found = [restore.load_params(path).params for path in runs]
    return found[0] if len(found) == 1 else lines.mean(found)


def rows(
    points: Points,
    recipes: Mapping[str, Recipe],
    chosen: Sequence[Candidate],
    tried: Sequence[Candidate],
    *,
    against: str,
    say: Callable[[str], None],
) -> tuple[Row, ...]:
    """The table. `chosen`: candidates at their best rates, all seeds; `tried`: all that ran;
    `against`: the recipe that all are compared with."""
    forms = [form for name in recipes for form in _forms(points, name, recipes[name], chosen)]
    # What a seed's run of it has learned, raw, is what the other recipes of the seed are held to.
    reference = next(one for one in forms if one.recipe == against)
    ends = [line[-1].domain for line in reference.lines]
    target = {one.seed: end for one, end in zip(reference.candidates, ends, strict=True)}
    mean = float(np.mean(ends))
    base = points.reported(points.base)
    draw = intervals.Resamples(base, max(len(one.candidates) for one in forms))
    measured: dict[tuple[str, str], tuple[list[Evaluation], float | None]] = {}
    general: dict[str, float] = {}  # on the line, where all are compared
    for one in forms:
        places = [
            lines.at_domain_loss(line, target.get(candidate.seed, mean))
            for candidate, line in zip(one.candidates, one.lines, strict=True)
        ]
        found = [place.share for place in places if place is not None]
        is_end = one.form == "raw"
        if not is_end and len(found) < len(places):
            say(f"{one.recipe}, {one.form}: never as low as {mean:.3f} in domain loss")
            continue
        if one.form == "line":
            general[one.recipe] = float(np.mean([place.general for place in places if place]))
        shares = [1.0] * len(places) if is_end else found
        seen = [
            points.reported(lines.on_line(points.base, params, share))
            for params, share in zip(one.trained, shares, strict=True)
        ]
        measured[one.recipe, one.form] = seen, None if is_end else float(np.mean(shares))
    others = {REFERENCE: (against, "raw")}
    if best := best_ce(general, recipes):
        others |= dict.fromkeys((BEST_CE, BEST_CE_DRIFT, BEST_CE_BEHAVIOUR), (best, "line"))
    return tuple(
        _row(one, *measured[one.recipe, one.form], draw, measured, others, recipes, tried)
        for one in forms
        if (one.recipe, one.form) in measured
    )


def _forms(points, name: str, recipe: Recipe, chosen: Sequence[Candidate]) -> list[_Form]:
    mine = [one for one in chosen if one.recipe == name]
    if not mine:
        return []
    ends = [_params([one.result]) for one in mine]
    to_end = [lines.walk(points, params) for params in ends]
    found = [_Form(name, "raw", mine, ends, to_end), _Form(name, "line", mine, ends, to_end)]
    if recipe.soup:
        means = [_params([one.runs[stage].workdir for stage in recipe.soup]) for one in mine]
        to_mean = [lines.walk(points, params) for params in means]
        found.append(_Form(name, "soup", mine, means, to_mean))
    return found


def _row(
    form: _Form, seen, share, draw: intervals.Resamples, measured, others, recipes, tried
) -> Row:
    recipe = recipes[form.recipe]
    cost = {
        one: sum(map(_flops, _needed(recipe, one, form.form)))
        for one in dict.fromkeys([*form.candidates, *tried])
        if one.recipe == form.recipe
    }
    sampled = _sampling_flops(form.candidates[0].result)
    return Row(
        recipe=form.recipe,
        form=form.form,
        rate=form.candidates[0].rate,
        seeds=tuple(one.seed for one in form.candidates),
        share=share,
        figures={name: intervals.interval(x) for name, x in _figures(seen, draw).items()},
        less=_less(form, seen, others, draw, measured),
        flops=cost[form.candidates[0]] + sampled,
        flops_tried=sum(cost.values()) + sampled,  # samples are drawn once for all trials
        lines=tuple(map(tuple, form.lines)),
    )


def _less(form: _Form, seen, others: Mapping, draw, measured) -> dict[str, intervals.Interval]:
    found = {}
    for name, key in others.items():
        role, measure = _MEASURES[name]
        if key == (form.recipe, form.form) or not seen[0].of(role):
            continue
        mine, other = (draw.change(one, role, measure) for one in (seen, measured[key][0]))
        if less := intervals.less(mine, other):
            found[name] = less
    return found


def _figures(seen: Sequence[Evaluation], draw: intervals.Resamples) -> dict[str, np.ndarray]:
    found = {role: draw.change(seen, role) for role in mixture.EVALUATED_ROLES if seen[0].of(role)}
    for role in mixture.EVALUATED_ROLES[1:]:
        if seen[0].of(role):
            found[f"drift/{role}"] = draw.change(seen, role, "drift")
    for key in dict.fromkeys(name.rpartition("/")[0] for name in seen[0].sources):
        if key.partition("/")[0] in ("choice", "recall"):
            found[key] = draw.change(seen, key, "right")
    return found


def best_ce(general: Mapping[str, float], recipes: Mapping[str, Recipe]) -> str | None:
    """The recipe of one stage with cross-entropy on replay that forgets least on its line; by
    {recipe: general loss there}, on the half that is chosen on."""
    found = [
        name for name in general if recipes[name].kind == "ce" and len(recipes[name].stages) == 1
    ]
    return min(found, key=lambda name: general[name], default=None)


def _needed(recipe: Recipe, candidate: Candidate, form: str) -> list[str]:
    """The runs that a result is made of."""
    stages = recipe.stages if form == "soup" else recipe.needed
    return [candidate.runs[stage.name].workdir for stage in stages]


def _flops(path: str) -> float:
    """Of the training of a run, a teacher's passes included."""
    config = recorded.config(path)
    tokens = config["num_steps"] * config["batch_size"] * config["model"]["block_size"]
    return costs.work(config, tokens, evaluated=0)


def _sampling_flops(path: str) -> float:
    """Of drawing the own samples that a run replays: a forward pass of each token."""
    config = recorded.config(path)
    opened = mixture.components_of("general", config["data"]["general"])
    tokens = sum(sum(one.data.tokens.values()) for one in opened if one.dataset.is_sampled)
    return costs.work(config, 0, evaluated=tokens)
