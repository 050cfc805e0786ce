"""The stages of a lineage since its base, as far as each is known: what a law is fitted to."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.runs import baselines, evaluations, layout
from mypt_jax.schema import recorded

ROLES = ("domain", "general")


class Stage(NamedTuple):
    """One run: its config, its rows of metrics, its evaluation at step 0."""

    config: Mapping
    rows: Sequence[Mapping]
    start: evaluations.Evaluation

    @property
    def rate(self) -> float:
        return self.config["optim"]["peak_lr"]

    @property
    def replay(self) -> float:
        return self.config["data"]["replay_ratio"]

    def rates_until(self, step: int) -> float:
        """The sum of the learning rates of the first `step` updates, of a constant schedule."""
        warmup = int(self.config["optim"]["warmup_steps"])
        rising = min(step, warmup)
        rise = rising * (rising + 1) / 2 / warmup if warmup else 0.0
        return self.rate * (rise + step - rising)

    def settled(self) -> Iterator[tuple[int, Mapping[str, float]]]:
        """(step, {role: loss}) of the evaluations after warmup: a rate that begins anew first
        throws a model back."""
        for row in self.rows:
            losses = layout.losses(dict(row))
            if row["step"] > self.config["optim"]["warmup_steps"] and losses.keys() >= {*ROLES}:
                yield row["step"], losses


def read(path: str, *, until: float = float("inf")) -> Stage:
    """The run at `path`, as it was known after `until` steps. Raises UserError."""
    rows = [row for row in layout.metrics(path) if row["step"] <= until]
    return _stage(path, recorded.config(path), rows)


def to_be(config: Mapping) -> Stage:
    """A run that was not begun."""
    return Stage(config, (), evaluations.Evaluation({}))


def under_way(config: Mapping, row: Mapping) -> Stage:
    """A run at work, whose newest row is not written yet."""
    path = config["workdir"]
    return _stage(path, config, [*layout.metrics(path), row])


def _stage(path: str, config: Mapping, rows: Sequence[Mapping]) -> Stage:
    return Stage(config, rows, evaluations.read(layout.eval_file(path, 0)))


def above(ancestors: Sequence[Mapping]) -> list[Stage]:
    """Of a run's ancestors, as its lineage has them, those since the base. Raises UserError where
    one is not there any more."""
    found = []
    for one in ancestors[1:]:
        if not baselines.is_same(one["path"], one):
            raise UserError(f"the ancestor {one['path']} is gone or was trained anew")
        found.append(read(one["path"], until=one["step"]))
    return found
