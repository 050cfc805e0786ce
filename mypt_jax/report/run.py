"""One run as the report shows it: its losses, and their changes where they may be compared."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from data_pipeline.batches.eval_windows import REPORT
from mypt_jax.monitor import tracked
from mypt_jax.runs import baselines, comparison, evaluation_file, evaluations, layout, recited
from mypt_jax.runs.comparison import Difference, Refusal
from mypt_jax.runs.evaluations import Evaluation

MIXTURE = "val"  # over all sources that are trained on, by their shares


@dataclass(eq=False)  # one object for each: parents and children are compared by it
class Run:
    """One run directory as it stands; losses in nats/token, times in seconds."""

    path: Path
    config: Mapping
    record: Mapping  # lineage.json
    finished: Mapping | None
    rows: list[dict]
    damage: str = ""  # a line on rows that were left out
    time_spent: Mapping | None = None  # goodput.summarise
    name: str = ""
    parent: "Run | None" = None
    # Of a merged run, as its lineage has them: the runs that it is the sum of, None where one is
    # not under this directory.
    merged: list["Run | None"] = field(default_factory=list)
    children: list["Run"] = field(default_factory=list)

    @property
    def stage(self) -> str:
        return self.config["stage"]

    @property
    def ancestors(self) -> list[Mapping]:
        return self.record["ancestors"]

    @property
    def is_domain_stage(self) -> bool:
        return self.record["parent"] is not None

    @property
    def merged_from(self) -> list[Mapping]:
        """Of a merged run what its lineage says of the runs that it is the sum of."""
        return self.record.get("merged_from", [])

    @property
    def step(self) -> int:
        """The one that the result is of, else the newest that was logged."""
        if self.finished:
            return int(self.finished["step"])
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def num_steps(self) -> int:
        return int(self.config["num_steps"])

    @property
    def peak_lr(self) -> float:
        return float(self.config["optim"]["peak_lr"])

    @property
    def replay_ratio(self) -> float:
        return float(self.config["data"]["replay_ratio"])

    @cached_property
    def recited(self) -> tuple[int, list[recited.Pair]]:
        """(tokens of a continuation, what it knows by heart of each split that was asked for)."""
        return recited.read(str(self.path), run_id=self.record["run_id"], step=self.step)

    def value(self, key: str) -> float | None:
        """The newest logged value of a metric, up to the step that the result is of."""
        rows = (row for row in reversed(self.rows) if row["step"] <= self.step)
        return next((row[key] for row in rows if row.get(key) is not None), None)

    @property
    def bits_per_byte(self) -> float | None:
        """Of domain text, on the windows of `final`; None where it was not logged for them."""
        half = REPORT if self.newest.is_halved("domain") else "eval/"
        step = self.evaluations[-1][0] if self.evaluations else -1
        rows = (row for row in self.rows if row["step"] == step)
        return next((row.get(f"{half}domain/bits_per_byte") for row in rows), None)

    def series(self, key: str) -> tuple[list[int], list[float]]:
        rows = [row for row in self.rows if row.get(key) is not None]
        return [int(row["step"]) for row in rows], [float(row[key]) for row in rows]

    @property
    def trained_on(self) -> Mapping[str, Mapping]:
        """{role/source: share, licence, ...}; empty where it is unknown, of an imported base."""
        return self.record["data"].get("sources", {})

    @cached_property
    def shares(self) -> dict[str, float]:
        return {key: share_value(source["share"]) for key, source in self.trained_on.items()}

    @property
    def sources(self) -> list[str]:
        """role/source of everything that was evaluated or trained on."""
        keys = dict.fromkeys(self.trained_on)
        keys |= dict.fromkeys(key for key in self.final if "/" in key)
        return list(keys)

    @cached_property
    def evaluations(self) -> list[tuple[int, dict[str, float]]]:
        """(step, {"domain": loss, "general/wikipedia": loss, "val": loss}) in order of steps.

        Of a run that the guard rolled back: up to the step that was kept.
        """
        end = self.finished
        last = self.step if end else math.inf
        found = [(int(row["step"]), layout.losses(row)) for row in self.rows]
        found = [(step, losses) for step, losses in found if losses and step <= last]
        if end and end.get("eval") and (not found or found[-1][0] != last):  # its row was damaged
            found.append((end["step"], {key: float(loss) for key, loss in end["eval"].items()}))
        return found

    def at(self, step: int) -> Evaluation:
        """The record of an evaluation."""
        if step not in self._read:
            self._read[step] = evaluations.read(layout.eval_file(str(self.path), step))
        return self._read[step]

    @cached_property
    def damaged_evaluations(self) -> list[str]:
        """Why the first or newest evaluation of this run cannot be compared."""
        steps = {step for step, _ in (self.evaluations[:1] + self.evaluations[-1:])}
        paths = [layout.eval_file(str(self.path), step) for step in sorted(steps)]
        return [reason for path in paths if (reason := evaluation_file.damage(path))]

    @cached_property
    def _read(self) -> dict[int, Evaluation]:
        return {}

    @cached_property
    def newest(self) -> Evaluation:
        """The record of the newest evaluation."""
        if not self.evaluations:
            return Evaluation({}, fault=f"{self.path} evaluated nothing")
        return self.at(self.evaluations[-1][0])

    @cached_property
    def result(self) -> Evaluation:
        """Of the newest evaluation the half that nothing was chosen on, where it was measured."""
        return self.newest.reported

    @cached_property
    def chosen_by(self) -> Evaluation:
        """Of the newest evaluation what steps and limits were chosen on, and runs are."""
        return self.newest.selected

    @cached_property
    def line(self) -> list[tuple[float, Evaluation]]:
        """Of a merged run that is a point of a line its points: where, and their evaluations."""
        found = layout.line(str(self.path))
        return [
            (one["at"], evaluations.read(layout.line_file(str(self.path), number)).reported)
            for number, one in enumerate(found["points"] if found else ())
        ]

    @cached_property
    def final(self) -> dict[str, float]:
        """Losses of the newest evaluation, by role and source."""
        if self.result.fault:
            return self.evaluations[-1][1] if self.evaluations else {}
        names = dict.fromkeys(map(evaluations.role_of, self.result.sources))
        found = {name: self.result.mean(name) for name in (*names, *self.result.sources)}
        whole = comparison.compare(self.result, self.result, MIXTURE, shares=self.shares)
        if isinstance(whole, Difference):
            found[MIXTURE] = whole.final
        return {
            name: loss for name, loss in found.items() if loss is not None and math.isfinite(loss)
        }

    def measures(self, role: str) -> dict[str, tuple[float, float]]:
        """{name: (mean per token, standard error)} of what was measured beside the loss at the end,
        of all sources of a role."""
        sources = list(self.result.of(role).values())
        names = [name for name in (sources[0].sums if sources else ()) if name != "nll"]
        return {
            name: evaluations.mean_and_stderr(
                np.concatenate([one.sums[name] for one in sources]),
                np.concatenate([one.tokens_D for one in sources]),
            )
            for name in names
            if all(name in one.sums for one in sources)
        }

    def drift(self, role: str) -> tuple[float, float] | None:
        """(KL(base || this model), nats/token on held-out text, its standard error), as measured
        at the end."""
        return self.measures(role).get("drift")

    @cached_property
    def told(self) -> dict[str, float]:
        """What the objective told beside its loss, by its own names, as logged last."""
        return {key: value for row in self.rows for key, value in tracked.of_objective(row).items()}

    def against_start(self, name: str) -> Difference | Refusal | None:
        """None where the run has no such loss. A merged run starts from the ancestor that the runs
        share."""
        if name not in self.final:
            return None
        shares = self.shares if name == MIXTURE else None
        return comparison.compare(self.result, self._start, name, shares=shares)

    def against_baseline(self, name: str) -> Difference | Refusal | None:
        """None where the run has no such loss."""
        if name not in self.final:
            return None
        shares = self.shares if name == MIXTURE else None
        return comparison.compare(self.result, self.baseline, name, shares=shares)

    def chosen_against_start(self, name: str) -> Difference | Refusal:
        """On what runs are chosen on."""
        return comparison.compare(self.chosen_by, self._start, name)

    def chosen_against_baseline(self, name: str) -> Difference | Refusal:
        """On what runs are chosen on."""
        return comparison.compare(self.chosen_by, self.baseline, name)

    @cached_property
    def _start(self) -> Evaluation:
        return self._measured(len(self.ancestors) - 1) if self.merged_from else self.at(0)

    @cached_property
    def baseline(self) -> Evaluation:
        """The base stage on the windows of the newest evaluation, of both halves of val."""
        return self._measured(0) if self.ancestors else self.newest

    def _measured(self, number: int) -> Evaluation:
        """An ancestor, by its number from the base, on the windows of the newest evaluation."""
        places = [*self._above()][::-1]
        others = [str(run.path) for run in self.merged if run is not None]
        candidates = baselines.candidates(
            self.ancestors,
            number,
            place=places[number],
            runs=[str(self.path), *places[number + 1 :][::-1], *others, *self._siblings()],
        )
        return comparison.baseline(self.newest, candidates)[0]

    def _above(self) -> Iterator[str]:
        """Where the ancestors lie now, the nearest first; as recorded where it is not known."""
        run = self
        for ancestor in reversed(self.ancestors):
            run = run.parent if run is not None else None
            yield ancestor["path"] if run is None else str(run.path)

    def _siblings(self) -> list[str]:
        """The runs of this lineage that are direct children of its base."""
        first = self
        while first.parent is not None:
            first = first.parent
        return [] if first.is_domain_stage else [str(child.path) for child in first.children]


def share_value(share: float | str) -> float:
    """A share as the lineage writes it: a number, or a fraction such as "1/5"."""
    return float(Fraction(share)) if isinstance(share, str) else float(share)


def perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700.0 else math.inf  # what a float holds
