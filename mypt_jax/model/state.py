"""The parts of a run's state: each is declared here, or it cannot be part of one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mypt_jax.distributed import sharding
from mypt_jax.model import parameters


class Part(NamedTuple):
    """What holds of a part. Every part is saved with a step, `result` alone with a finished run."""

    place: str  # parameters: as the parameters of the same names | moments | everywhere
    result: bool = False  # what a finished run keeps, and what a child starts from
    evaluated: str = ""  # the name under which its scores are reported, "" where it has none


PARTS = {
    "params": Part(place="parameters", result=True, evaluated="eval"),
    # In the place of params while a stage trains it: those are its parent's, and saved there.
    "adapter": Part(place="parameters"),
    "opt_state": Part(place="moments"),
    "step": Part(place="everywhere"),
    "average": Part(place="parameters", evaluated="average"),
}


def part(name: str) -> Part:
    """The declaration of a part. Raises ValueError for one that has none: where it would lie and
    whether children inherit it would be left to chance."""
    if name not in PARTS:
        raise ValueError(f"state part {name!r} is not declared in mypt_jax/model/state.py")
    return PARTS[name]


def trained(state: Mapping) -> str:
    """The name of the part that updates change, and whose moments opt_state holds."""
    return "adapter" if "adapter" in state else "params"


def parameter_shardings(mesh: Mesh, tree: Any) -> Any:
    """Where parameters, or what has their names, lie."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: NamedSharding(
            mesh, sharding.partition_spec(parameters.of(tuple(k.key for k in path)).axes)
        ),
        tree,
    )


def shardings(
    mesh: Mesh, abstract_state: Mapping, tx: optax.GradientTransformation
) -> dict[str, Any]:
    """Where every array of the state lies, as a tree like it."""
    replicated = NamedSharding(mesh, P())

    def of(name: str, tree):
        place = part(name).place
        if place == "parameters":
            return parameter_shardings(mesh, tree)
        if place == "moments":
            return optax.tree_map_params(
                tx,
                lambda _, where: where,
                tree,
                parameter_shardings(mesh, abstract_state[trained(abstract_state)]),
                transform_non_params=lambda _: replicated,
            )
        return jax.tree.map(lambda _: replicated, tree)

    return {name: of(name, tree) for name, tree in abstract_state.items()}
