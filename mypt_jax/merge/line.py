"""The line between a model and another one that it came from: evaluated, and one point chosen.

Between a stage and its base general text is remembered again faster than the domain is lost, so
that a point on the line often keeps a limit at a lower domain loss than a shorter stage would
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from data_pipeline.batches.mixture import ROLES
from data_pipeline.errors import UserError
from mypt_jax.evaluate.losses import Score
from mypt_jax.merge import parents as merged_parents
from mypt_jax.merge import weights
from mypt_jax.merge.evaluation import Evaluator
from mypt_jax.merge.parents import Parent
from mypt_jax.runs import baselines, comparison, layout, lineage
from mypt_jax.runs.comparison import Difference, Refusal
from mypt_jax.runs.evaluations import Evaluation, Source, write

SCHEMA = 1


class Point(NamedTuple):
    """A model on the line: `at` 1 the runs' sum, at 0 the one that the line leads toward."""

    at: float
    parents: list[Parent]  # with their weights here
    scores: dict[str, Score]
    forgetting: Difference | Refusal  # on the half that is chosen on

    @property
    def domain(self) -> float:
        """Loss on the half that is chosen on, nats/token; nan where it was not measured."""
        mean = Evaluation(self.scores).mean("domain")
        return math.nan if mean is None else mean


class Line(NamedTuple):
    """`toward`: the run at 0; `points` from there to 1."""

    toward: Parent
    points: list[Point]
    baseline: Evaluation  # the base on these windows

    def on_report(self, point: Point) -> tuple[Difference | Refusal, Difference | Refusal]:
        """(domain, forgetting) of a point against the base, on what nothing is chosen on."""
        own = Evaluation(point.scores).reported
        found = [comparison.compare(own, self.baseline, role) for role in ("domain", "general")]
        return found[0], found[1]


def evaluate(
    parents: Sequence[Parent], toward: Parent, evaluator: Evaluator, *, points: int
) -> Line:
    """Evaluates `points` models from `toward` to the parents' sum, evenly spaced, both halves."""
    if not evaluator.plan:
        raise UserError("none of these runs was evaluated, so that their line cannot be either")
    ancestors = merged_parents.shared_ancestors([*parents, toward])
    base = ancestors[0]
    places = [one.path for one in (*parents, toward)]
    found, baseline = [], Evaluation({})
    for number in range(points):
        at = number / (points - 1)
        here = _weighted(parents, toward, at)
        scores = evaluator.score(weights.combine([(one.weight, one.params) for one in here]))
        own = Evaluation(scores)
        if not baseline.sources:
            measured = baselines.candidates(ancestors, 0, place=base["path"], runs=places)
            baseline = comparison.baseline(own, measured)[0]
        found.append(Point(at, here, scores, comparison.compare(own, baseline, "general")))
    return Line(toward, found, baseline)


def _weighted(parents: Sequence[Parent], toward: Parent, at: float) -> list[Parent]:
    """Those that have a part in the model at `at`, with their weights there."""
    parts = [one._replace(weight=at * one.weight) for one in parents]
    return [one for one in (*parts, toward._replace(weight=1 - at)) if one.weight]


def choose(line: Line, *, limit: float) -> Point:
    """The point of lowest domain loss whose forgetting is at most `limit`, a share of the base's
    general loss; both on the half that is chosen on. Raises UserError where there is none."""
    known = [
        (one.forgetting.percent, one)
        for one in line.points
        if isinstance(one.forgetting, Difference)
    ]
    if not known:
        first = line.points[0].forgetting
        assert isinstance(first, Refusal)
        raise UserError(f"no forgetting to keep a limit of: {first.reason}")
    inside = [one for percent, one in known if percent <= 100 * limit]
    if not inside:
        percent, least = min(known, key=lambda pair: pair[0])
        raise UserError(
            f"no point of the line keeps the limit of {100 * limit:g} %: the least forgetting is "
            f"{percent:+.2f} %, at {least.at:g}; give a larger limit, or a line "
            "toward an earlier ancestor"
        )
    return min(inside, key=lambda one: one.domain)


def table(line: Line, chosen: Point | None) -> list[str]:
    """Lines for the user: every point, on the half that is chosen on."""
    lines = ["| at | domain | general | forgetting |", "|---|---|---|---|"]
    for one in line.points:
        general = Evaluation(one.scores).mean("general")
        lines.append(
            f"| {one.at:.3g}{' <-' if one is chosen else ''} | {one.domain:.4f} | "
            f"{'-' if general is None else f'{general:.4f}'} | {_changed(one.forgetting)} |"
        )
    return lines


def reported(line: Line, point: Point) -> str:
    """What a point is worth, on what nothing was chosen on."""
    domain, general = line.on_report(point)
    where = Evaluation(point.scores).told_on(ROLES)
    return f"at {point.at:.3g}, {where}: domain {_changed(domain)}, forgetting {_changed(general)}"


def _changed(found: Difference | Refusal) -> str:
    if isinstance(found, Refusal):
        return found.word
    error = 100 * found.stderr / found.start
    bar = f" +/- {error:.2f}" if math.isfinite(error) else ""
    return f"{found.percent:+.2f}{bar} % ({found.nats:+.4f} nats)"


def keep(workdir: str, line: Line) -> None:
    """Writes the evaluations of the points, and line.json, which names them."""
    for number, point in enumerate(line.points):
        sources: dict[str, Source] = dict(point.scores)
        write(layout.line_file(workdir, number), sources)
    facts = {
        "schema": SCHEMA,
        "toward": lineage.identity(line.toward.own),
        "points": [{"at": point.at} for point in line.points],
    }
    lineage.write_json(layout.join(workdir, layout.LINE), facts)
