"""The stages of a lineage since its base, as far as each is known: what a law is fitted to."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.runs import baselines, evaluations, layout
from mypt_jax.schema import recorded, tree

ROLES = ("domain", "general")


class Stage(NamedTuple):
    """One run: its config, its rows of metrics, its evaluation at step 0, and after how many
    steps it ends or the next one began."""

    config: Mapping
    rows: Sequence[Mapping]
    start: evaluations.Evaluation
    steps: int

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

    @property
    def odd_step(self) -> int | None:
        """The first step that was not trained at the rate of the config: another one went before
        it, or it was warmed up again. None where all were, as far as they were logged."""
        warmup = int(self.config["optim"]["warmup_steps"])
        for row in self.rows:
            wanted = self.rate * min(1.0, row["step"] / warmup if warmup else 1.0)
            if not math.isclose(row.get("lr", wanted), wanted, rel_tol=1e-3):
                return row["step"]
        return None

    def settled(self) -> Iterator[tuple[int, Mapping[str, float]]]:
        """(step, {role: loss}) of the evaluations after warmup: a rate that begins anew first
        throws a model back."""
        for row in self.rows:
            losses = layout.losses(dict(row))
            if row["step"] > self.config["optim"]["warmup_steps"] and losses.keys() >= {*ROLES}:
                yield row["step"], losses


def read(path: str, *, until: float = float("inf")) -> Stage:
    """The run at `path`, as it was known after `until` steps. Raises UserError."""
    config = recorded.config(path)
    rows = [row for row in layout.metrics(path) if row["step"] <= until]
    return _stage(path, config, rows, config["num_steps"])


def to_be(config: Mapping) -> Stage:
    """A run that was not begun."""
    return Stage(config, (), evaluations.Evaluation({}), config["num_steps"])


def under_way(config: Mapping, row: Mapping) -> Stage:
    """A run at work, whose newest row is not written yet."""
    path = config["workdir"]
    return _stage(path, config, [*layout.metrics(path), row], config["num_steps"])


def _stage(path: str, config: Mapping, rows: Sequence[Mapping], steps: int) -> Stage:
    return Stage(config, rows, evaluations.read(layout.eval_file(path, 0)), steps)


def until(path: str, step: int) -> list[Stage]:
    """Those since the base of the run at `path`, which the next one begins after `step` of. Raises
    UserError."""
    record = layout.record_at(path, step)
    own = {**record, "path": path, "step": step, "config": recorded.config(path)}
    return [*above(record["ancestors"]), _as_then(own)]


def above(ancestors: Sequence[Mapping]) -> list[Stage]:
    """Of a run's ancestors, as its lineage has them, those since the base. Raises UserError where
    one is not there any more, or was not trained."""
    for one in ancestors[1:]:
        if not baselines.is_same(one["path"], one):
            raise UserError(f"the ancestor {one['path']} is gone or was trained anew")
    return [_as_then(one) for one in ancestors[1:]]


def _as_then(one: Mapping) -> Stage:
    """An ancestor as it was when the next one began: it may have been trained longer since."""
    if one.get("merged_from"):
        raise UserError(f"the ancestor {one['path']} is a sum of runs, and was not trained")
    rows = [row for row in layout.metrics(one["path"]) if row["step"] <= one["step"]]
    return _stage(one["path"], tree.completed(one["config"]), rows, one["step"])
