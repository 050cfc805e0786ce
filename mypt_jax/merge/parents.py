"""The runs of a merge: opened, and checked to be of one architecture, tokenizer and descent."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.checkpoint import restore
from mypt_jax.runs import ancestry, layout, lineage
from mypt_jax.schema import changes, keys, recorded
from mypt_jax.storage import fetch


class Parent(NamedTuple):
    """A run at a step, with its weight; `own`: what it is to descendants (lineage.as_ancestor)."""

    path: str
    step: int
    weight: float
    config: dict
    record: dict
    own: dict
    params: Mapping  # host arrays

    @property
    def name(self) -> str:
        return f"{self.path}@{self.step}"

    @property
    def family(self) -> list[Mapping]:
        return [*self.record["ancestors"], self.own]


def open_all(wanted: Sequence[tuple[str, float]]) -> list[Parent]:
    """Opens runs, PATH, PATH@STEP or PATH@best, with their weights.

    Raises UserError where one is missing, or cannot be added to the first; NoValidState where its
    checkpoint is damaged.
    """
    # Everything that needs no parameters first: they may take minutes to read.
    places = [layout.resolve_step(fetch.fetch_run(spec)) for spec, _ in wanted]
    facts = [(recorded.config(path), layout.record_at(path, step)) for path, step in places]
    (config, record), *others = facts
    for (theirs, other), (path, _) in zip(others, places[1:], strict=True):
        _check_alike(config, record, theirs, other, names=(places[0][0], path))
    parents = [
        _open(path, step, weight, *of_run)
        for (path, step), (_, weight), of_run in zip(places, wanted, facts, strict=True)
    ]
    tables = [restore.tree_table(one.params) for one in parents]
    for one, table in zip(parents[1:], tables[1:], strict=True):
        restore.check_tree(tables[0], table, where=one.name)
    return parents


def shared_ancestors(parents: Sequence[Parent]) -> list[Mapping]:
    """The ancestors that all have in common, the last at the end. Raises UserError for none."""
    shared = ancestry.last_shared([one.family for one in parents])
    if not shared:
        roots = ", ".join(dict.fromkeys(f"{one.path} from {_root(one)}" for one in parents))
        raise UserError(
            f"these runs share no ancestor ({roots}): weights of unrelated models do not add up; "
            "where imports have one origin, import each with --origin=RUN"
        )
    return shared


def _root(parent: Parent) -> str:
    first = parent.family[0]
    return f"{first['path']} ({first['params_sha256'][:12]})"


def _open(path: str, step: int, weight: float, config: dict, record: dict) -> Parent:
    params = restore.restore_params(path, step, None)
    digest = lineage.params_sha256(params)
    own = layout.as_ancestor(record, config, path=path, step=step, digest=digest)
    return Parent(path, step, weight, config, record, own, params)


def _check_alike(
    config: Mapping, record: Mapping, theirs: Mapping, other: Mapping, *, names: tuple[str, str]
) -> None:
    """Raises UserError where two runs have not the same architecture and tokenizer."""
    first, second = names
    for key, (mine, its) in changes.between(config, theirs, keys.ARCHITECTURE).items():
        if key.startswith("model."):
            raise UserError(
                f"{key} is {mine} in {first} and {its} in {second}: only runs of one architecture "
                "can be merged"
            )
    mine, its = record["tokenizer"], other["tokenizer"]
    if mine["sha256"] != its["sha256"]:
        raise UserError(
            f"{first} has tokenizer {mine['name']} ({mine['sha256'][:12]}), {second} has "
            f"{its['name']} ({its['sha256'][:12]}): only runs of one tokenizer can be merged"
        )
