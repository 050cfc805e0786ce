"""Reads run directories for the report: what runs there are, their descent, and their losses.

Reads what a run leaves behind (config.json, lineage.json, metrics.jsonl, finished.json, eval/*.npz)
and nothing else, so that a report needs neither the data nor an accelerator.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from mypt_jax.monitor import goodput
from mypt_jax.runs import evaluations, layout, lineage, metrics_file

# Directories of a run that hold no runs.
_NOT_RUNS = (layout.CHECKPOINTS, layout.EVALUATIONS, "events", "wandb")


@dataclass(frozen=True)
class Difference:
    """final - start of one loss, in nats/token; percent of start; standard error or None."""

    start: float
    final: float
    stderr: float | None = None

    @property
    def nats(self) -> float:
        return self.final - self.start

    @property
    def percent(self) -> float:
        return 100 * self.nats / self.start if self.start else math.nan


@dataclass
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
    children: list["Run"] = field(default_factory=list)

    @property
    def stage(self) -> str:
        return self.config["stage"]

    @property
    def is_domain_stage(self) -> bool:
        return self.record["parent"] is not None

    @property
    def step(self) -> int:
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
    def evaluations(self) -> list[tuple[int, dict[str, float]]]:
        """(step, {"domain": loss, "general/wikipedia": loss, "val": loss}) in order of steps.

        Of a run that the guard rolled back: up to the step that was kept.
        """
        found = []
        last = self.finished["step"] if self.finished else None
        for row in self.rows:
            if last is not None and row["step"] > last:
                break
            losses = {
                key[len("eval/") : -len("/loss")]: float(value)
                for key, value in row.items()
                if key.startswith("eval/") and key.endswith("/loss") and value is not None
            }
            if losses:
                found.append((int(row["step"]), losses))
        at_end = (self.finished or {}).get("eval")
        if at_end and (not found or found[-1][0] != last):  # its row was damaged
            found.append((last, {key: float(loss) for key, loss in at_end.items()}))
        return found

    @property
    def start(self) -> dict[str, float]:
        """Losses before the first update; empty where that was not evaluated."""
        return self.evaluations[0][1] if self.evaluations and not self.evaluations[0][0] else {}

    @property
    def final(self) -> dict[str, float]:
        """Losses of the newest evaluation."""
        return self.evaluations[-1][1] if self.evaluations else {}

    @property
    def baseline(self) -> Mapping[str, float]:
        """The base stage's final losses, against which forgetting is measured."""
        recorded = self.record.get("baseline")
        return recorded["eval"] if recorded else self.final

    def value(self, key: str) -> float | None:
        """The newest logged value of a metric."""
        return next((row[key] for row in reversed(self.rows) if row.get(key) is not None), None)

    def series(self, key: str) -> tuple[list[int], list[float]]:
        rows = [row for row in self.rows if row.get(key) is not None]
        return [int(row["step"]) for row in rows], [float(row[key]) for row in rows]

    @property
    def trained_on(self) -> Mapping[str, Mapping]:
        """{role/source: share, licence, ...}; empty where it is unknown, of an imported base."""
        return self.record["data"].get("sources", {})

    @property
    def sources(self) -> list[str]:
        """role/source of everything that was evaluated or trained on."""
        keys = dict.fromkeys(self.trained_on)
        keys |= dict.fromkeys(key for key in self.final if "/" in key)
        return list(keys)

    def eval_file(self, step: int) -> Path:
        return Path(layout.eval_file(str(self.path), step))

    def final_eval_file(self) -> Path | None:
        path = self.eval_file(self.evaluations[-1][0]) if self.evaluations else None
        return path if path is not None and path.is_file() else None

    def damaged_evaluations(self) -> list[str]:
        """Why the first or last evaluation of this run cannot be compared in pairs."""
        steps = {step for step, _ in (self.evaluations[:1] + self.evaluations[-1:])}
        paths = [str(self.eval_file(step)) for step in sorted(steps)]
        return [reason for path in paths if (reason := evaluations.damage(path))]

    def against_start(self, name: str) -> Difference | None:
        if name not in self.start or name not in self.final:
            return None
        pair = (self.eval_file(0), self.final_eval_file())
        return Difference(self.start[name], self.final[name], paired_stderr(*pair, name))

    def against_baseline(self, name: str) -> Difference | None:
        if name not in self.baseline or name not in self.final:
            return None
        pair = (self.baseline_file(), self.final_eval_file())
        return Difference(self.baseline[name], self.final[name], paired_stderr(*pair, name))

    def baseline_file(self) -> Path | None:
        """Where the baseline was measured: the base's last evaluation, or the first stage's step 0.

        The latter for a base that lies elsewhere or, imported, evaluated nothing: a first stage
        starts with the base's parameters.
        """
        first = self
        while first.parent is not None and first.parent.is_domain_stage:
            first = first.parent
        base = first.parent if first.is_domain_stage else first
        if base is not None and base.final:
            return base.final_eval_file()
        return first.eval_file(0) if len(first.record["ancestors"]) == 1 else None


def paired_stderr(first: Path | None, second: Path | None, name: str) -> float | None:
    """Standard error of a role's loss difference on the same windows; None where it is unknown."""
    if name not in mixture.ROLES or first is None or second is None:
        return None
    if first == second or not (first.is_file() and second.is_file()):
        return None
    from mypt_jax.evaluate import (
        losses as evaluate,  # imports jax: seconds that a report without npz files is spared
    )

    difference = evaluate.paired_difference(str(second), str(first), name)
    known = difference is not None and math.isfinite(difference[1])  # one document has no spread
    return float(difference[1]) if known else None


def read_run(path: Path) -> Run:
    """One run directory. Raises UserError that names what is missing or broken."""
    read = layout.read_metrics(str(path))
    run = Run(
        path=path,
        config=layout.config(str(path)),
        record=layout.record(str(path)),
        finished=layout.finished(str(path)),
        rows=read.rows,
        damage=metrics_file.damage(layout.METRICS, read),
    )
    starts = goodput.read(str(path))
    run.time_spent = goodput.summarise(starts) if starts else None
    return run


def _run_directories(root: Path) -> Iterator[Path]:
    """Directories at and under root that hold a run, runs inside runs included."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in _NOT_RUNS and not n.startswith("."))
        if layout.CONFIG in files and lineage.FILE in files:
            yield Path(directory)


def _kinship(candidate: Run, run: Run) -> int:
    """How surely a run is the parent: 0 not, 1 by recorded name, 2 by parameters, 3 by place."""
    parent = run.record["parent"]
    if candidate is run:
        return 0
    if os.path.realpath(parent["path"]) == os.path.realpath(candidate.path):
        return 3
    # Runs that were moved or downloaded since: the same parameters are the same parent.
    if (candidate.finished or {}).get("params_sha256") == parent["params_sha256"]:
        return 2
    recorded = os.path.normpath(str(candidate.config.get("workdir", "")))
    return int(os.path.normpath(parent["path"]) == recorded)


def _nearness(one: Run, other: Run) -> int:
    return len(os.path.commonpath([os.path.abspath(one.path), os.path.abspath(other.path)]))


def read_runs(root: Path) -> list[Run]:
    """Every run at and under root, linked to its parent, in the order of the lineage.

    Raises UserError when root holds no run.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a directory; wanted one that holds runs, such as runs/tiny")
    runs = [read_run(path) for path in _run_directories(root)]
    if not runs:
        raise UserError(
            f"{root} holds no run (no config.json with lineage.json); train one first: "
            "python -m mypt_jax chain --size=tiny"
        )
    stages = [run.stage for run in runs]
    for run in runs:
        unique = stages.count(run.stage) == 1
        run.name = run.stage if unique else os.path.relpath(run.path, root)
        if run.is_domain_stage:
            # Of copies, the one nearby: runs that were archived as a whole keep to themselves.
            nearest = max(runs, key=lambda o, run=run: (_kinship(o, run), _nearness(o, run)))
            run.parent = nearest if _kinship(nearest, run) else None
    for run in sorted(runs, key=lambda run: (str(run.record.get("created", "")), run.name)):
        if run.parent is not None:
            run.parent.children.append(run)
    return [run for first in runs if first.parent is None for run in _descendants(first)]


def _descendants(run: Run) -> Iterator[Run]:
    yield run
    for child in run.children:
        yield from _descendants(child)


def lineages(runs: list[Run]) -> list[list[Run]]:
    """The runs, grouped by their root."""
    return [list(_descendants(run)) for run in runs if run.parent is None]


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # e**700 is the largest that a float holds
