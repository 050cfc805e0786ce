"""What each parameter is: its role and its logical axes, from which decay, optimizer and sharding
follow.

A matrix maps vectors to vectors, a table has a row for each token or position, a vector is a norm's
scale or a bias. Block parameters are stacked along a layer axis, so that the number of dimensions
says nothing of the role.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from mypt_jax.model import flops

MATRIX, TABLE, VECTOR = "matrix", "table", "vector"


class Parameter(NamedTuple):
    """`axes`: names of the dimensions, by which sharding.RULES places the array."""

    role: str
    axes: tuple[str | None, ...]


# By the end of the path; "blocks" adds the layer axis in front.
PARAMETERS = {
    ("embed", "tokens"): Parameter(TABLE, ("vocab", "embed")),
    ("embed", "positions"): Parameter(TABLE, (None, "embed")),
    ("qkv", "kernel"): Parameter(MATRIX, ("embed", "qkv")),
    ("qkv", "bias"): Parameter(VECTOR, ("qkv",)),
    ("proj", "kernel"): Parameter(MATRIX, ("qkv", "embed")),
    ("proj", "bias"): Parameter(VECTOR, (None,)),
    ("up", "kernel"): Parameter(MATRIX, ("embed", "mlp")),
    ("up", "bias"): Parameter(VECTOR, ("mlp",)),
    ("gate", "kernel"): Parameter(MATRIX, ("embed", "mlp")),
    ("gate", "bias"): Parameter(VECTOR, ("mlp",)),
    ("down", "kernel"): Parameter(MATRIX, ("mlp", "embed")),
    ("down", "bias"): Parameter(VECTOR, (None,)),
    ("q_norm", "scale"): Parameter(VECTOR, (None,)),
    ("q_norm", "bias"): Parameter(VECTOR, (None,)),
    ("k_norm", "scale"): Parameter(VECTOR, (None,)),
    ("k_norm", "bias"): Parameter(VECTOR, (None,)),
    ("ln1", "scale"): Parameter(VECTOR, (None,)),
    ("ln1", "bias"): Parameter(VECTOR, (None,)),
    ("ln2", "scale"): Parameter(VECTOR, (None,)),
    ("ln2", "bias"): Parameter(VECTOR, (None,)),
    ("ln_f", "scale"): Parameter(VECTOR, (None,)),
    ("ln_f", "bias"): Parameter(VECTOR, (None,)),
    ("head", "kernel"): Parameter(MATRIX, ("embed", "vocab")),
    ("head", "bias"): Parameter(VECTOR, ("vocab",)),
}
# Adapters, between the axes of their kernel.
PARAMETERS |= {
    (group, leaf): Parameter(MATRIX, axes)
    for (group, kernel), (_, (into, out)) in [
        (key, one) for key, one in PARAMETERS.items() if key[1] == "kernel"
    ]
    for leaf, axes in (("lora_a", (into, None)), ("lora_b", (None, out)))
}


def of(path: tuple[str, ...]) -> Parameter:
    """The parameter at `path`, e.g. ("blocks", "attn", "qkv", "kernel"), its layer axis included.
    KeyError for one that is not in the table."""
    group, leaf = path[-2:]
    known = PARAMETERS[group, leaf]
    return known._replace(axes=("layer", *known.axes)) if path[0] == "blocks" else known


def roles(params: Mapping) -> Any:
    """The role of every leaf, as a tree of the same shape."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: of(tuple(key.key for key in path)).role, params
    )


def is_matrix(params: Mapping) -> Any:
    """Where weight decay applies; as the original, the head is among the matrices."""
    return jax.tree.map(lambda role: role == MATRIX, roles(params))


def split_dims(model: Mapping) -> dict[str, dict[str, int]]:
    """Which dims of config.model are split over which mesh axis, for sharding.resolve_mesh."""
    heads = "n_kv_head" if model["n_kv_head"] else "n_head"
    return {
        "fsdp": {"n_embd": model["n_embd"]},
        "tensor": {
            heads: model[heads],
            "vocab_size": model["vocab_size"],
            "mlp_width": flops.mlp_width(model),
        },
    }
