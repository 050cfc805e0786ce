"""What a stage holds of other runs: its parent, its teacher, what its adapters are added to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.runs import integrity, layout, lineage
from mypt_jax.schema import recorded


class Parent(NamedTuple):
    """Where a stage starts: a run, a step of it, its config and its lineage."""

    path: str
    step: int
    config: dict
    record: dict


class Teacher(NamedTuple):
    """A step whose parameters are held beside those that are trained; `digest`: of its files, by
    their manifest."""

    path: str
    step: int
    digest: str


def find(config: Mapping, name: str, path: str, step: int, *, told: str, else_do: str) -> Teacher:
    """A step of a run: the one that was found when this run began, unchanged, under `name` in its
    lineage, there or where it lies now, `path`. Raises UserError when it is not there; `told`: what
    wants it, `else_do`: instead."""
    before, now = None, path
    if layout.steps(config["workdir"]):
        before = layout.record(config["workdir"]).get(name)
    if before:
        path, step = before["path"], before["step"]
        if now and step in layout.steps(now) and step not in layout.steps(path):
            path = now
    if step not in layout.steps(path):
        raise UserError(f"{told}: there is no checkpoint {path}@{step}; bring it back{else_do}")
    digest = integrity.digest(layout.step_dir(path, step), "params")
    if before and before["digest"] != digest:
        raise UserError(
            f"{told}: {path}@{step} is not the one that {config['workdir']} began with "
            f"(parameters {digest[:12]}, recorded {before['digest'][:12]}): bring it back"
        )
    return Teacher(path, step, digest)


def foreign_samples(datasets: Iterable[shards.Dataset], parent: Parent) -> list[str]:
    """A line for each dataset that was sampled from a model which this stage does not come from:
    its words are not those that a stage of this lineage could forget."""
    record, end = parent.record, layout.finished(parent.path) or {}
    above = [*lineage.all_above(record), *record.get("origin", ()), end]
    known = {one.get("params_sha256") for one in above}
    known.add((record["run_id"], parent.step))
    by_model = {
        (one["params_sha256"], dataset.path): one
        for dataset in datasets
        for one in dataset.settings
        if one.get("params_sha256")
    }
    return [
        f"warning: {path} was sampled from {one['run']}@{one['step']}, which is no ancestor of "
        "this stage: behaviour is how far it is from that model's words"
        for (digest, path), one in by_model.items()
        if not known & {digest, (one["run_id"], one["step"])}
    ]


def find_frozen(config: Mapping, parent: Parent | None) -> Teacher | None:
    """The step that adapters are added to: the parent's; None where all parameters are trained.

    Raises UserError where there is none, or where adapters cannot be what the config wants.
    """
    wanted, workdir = config["adapter"], config["workdir"]
    is_begun = bool(layout.steps(workdir))
    if is_begun and (before := recorded.config(workdir)["adapter"]) != wanted:
        raise UserError(
            f"adapter is {wanted}, but the run at {workdir} was started with {before}; another "
            "value wants another --config.workdir"
        )
    if not wanted["rank"]:
        return None
    told = f"adapter.rank={wanted['rank']}"
    if not is_begun and parent is None:
        raise UserError(f"{told} adds to a parent's parameters, and a run from scratch has none")
    path, step = (parent.path, parent.step) if parent else ("", 0)
    return find(config, "frozen", path, step, told=told, else_do="")
