"""Reads run directories for the report: what runs there are, and their descent.

Reads what a run leaves behind (config.json, lineage.json, metrics.jsonl, finished.json, eval/*.npz)
and nothing else, so that a report needs neither the data nor an accelerator.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from data_pipeline.errors import UserError
from mypt_jax.monitor import goodput
from mypt_jax.report.run import Run
from mypt_jax.runs import layout, lineage, metrics_file

# Directories of a run that hold no runs.
_NOT_RUNS = (layout.CHECKPOINTS, layout.EVALUATIONS, "events", "wandb")


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
    _ = run.line, run.recited  # read with the rest: a damaged one is found here, not in a table
    return run


def directories(root: Path) -> Iterator[Path]:
    """Directories at and under root that hold a run, runs inside runs included."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in _NOT_RUNS and not n.startswith("."))
        # A config.json alone may be another program's, such as an exported model's.
        if lineage.FILE in files or layout.CONFIG in files and layout.METRICS in files:
            yield Path(directory)


def _kinship(candidate: Run, run: Run, recorded: Mapping) -> int:
    """How surely a run is what another recorded of it: 0 not, 1 by name, 2 by parameters, 3 by
    place."""
    if candidate is run:
        return 0
    if os.path.realpath(recorded["path"]) == os.path.realpath(candidate.path):
        return 3
    # Runs that were moved or downloaded since: the same parameters are the same parent.
    if (candidate.finished or {}).get("params_sha256") == recorded["params_sha256"]:
        return 2
    workdir = os.path.normpath(str(candidate.config.get("workdir", "")))
    return int(os.path.normpath(recorded["path"]) == workdir)


def _find(recorded: Mapping, run: Run, runs: list[Run]) -> Run | None:
    """The run that another one recorded as its parent, or as a part of its sum."""
    # Of copies, the one nearby: runs that were archived as a whole keep to themselves.
    nearest = max(runs, key=lambda one: (_kinship(one, run, recorded), _nearness(one, run)))
    return nearest if _kinship(nearest, run, recorded) else None


def _nearness(one: Run, other: Run) -> int:
    return len(os.path.commonpath([os.path.abspath(one.path), os.path.abspath(other.path)]))


def read_runs(root: Path, *, tell: Callable[[str], None] | None = None) -> list[Run]:
    """Every run at and under root, linked to its parent, in the order of the lineage.

    `tell` is told of every run that cannot be read, which is left out. Raises UserError when root
    holds no run that can be read, and without `tell` for the first that cannot.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a directory; wanted one that holds runs, such as runs/tiny")
    runs, damaged = [], []
    for path in directories(root):
        try:
            runs.append(read_run(path))
        except UserError as error:
            damaged.append(error)
        except OSError as error:
            damaged.append(UserError(f"run {path} cannot be read: {error.strerror}"))
    for error in damaged:
        if tell is None or not runs:
            raise error
        tell(str(error))
    if not runs:
        raise UserError(
            f"{root} holds no run (no config.json with lineage.json); train one first: "
            "python -m mypt_jax chain --size=tiny"
        )
    for run, name in zip(runs, _names(runs, root), strict=True):
        run.name = name
        if run.is_domain_stage:
            run.parent = _find(run.record["parent"], run, runs)
        run.merged = [_find(one, run, runs) for one in run.merged_from]
    for run in sorted(runs, key=lambda run: (str(run.record.get("created", "")), run.name)):
        if run.parent is not None:
            run.parent.children.append(run)
    return [run for first in runs if first.parent is None for run in _descendants(first)]


def _names(runs: list[Run], root: Path) -> list[str]:
    """Of each run its stage, or its place where another one would have the same name."""
    names = [run.stage for run in runs]
    while twice := [number for number, name in enumerate(names) if names.count(name) > 1]:
        for number in twice:
            names[number] = os.path.relpath(runs[number].path, root)
    return names


def _descendants(run: Run) -> Iterator[Run]:
    yield run
    for child in run.children:
        yield from _descendants(child)


def lineages(runs: list[Run]) -> list[list[Run]]:
    """The runs, grouped by their root; those whose parents are elsewhere by the base they share."""
    found: dict[str, list[Run]] = {}
    roots = [run for run in runs if run.parent is None]
    bases = [run for run in roots if not run.ancestors]
    for run in roots:
        found.setdefault(_base_of(run, bases), []).extend(_descendants(run))
    return list(found.values())


def _base_of(run: Run, bases: list[Run]) -> str:
    """Of a run whose parent is not among the runs: where its base is, else its parameters."""
    if not run.ancestors:
        return str(run.path)
    base = _find(run.ancestors[0], run, bases) if bases else None
    return run.ancestors[0]["params_sha256"] if base is None else str(base.path)
