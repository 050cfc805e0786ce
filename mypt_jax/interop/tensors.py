"""Between foreign tensors and our parameter tree: one table per architecture, strictly matched.

A table lists where every parameter of ours is found. Tensors of layer i carry {i} in their name and
are stacked; several names are joined along the output axis (separate q, k, v); `transpose` is for
torch.nn.Linear, whose weight is [out, in].
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data_pipeline import errors
from mypt_jax.model import flops
from mypt_jax.model import gpt as model
from mypt_jax.runs import lineage


class Entry(NamedTuple):
    """One parameter of ours ("blocks/attn/qkv/kernel") and the foreign tensors that make it."""

    ours: str
    theirs: tuple[str, ...]
    transpose: bool = False


def shapes(settings: Mapping) -> dict[str, tuple[int, ...]]:
    """{"embed/tokens": shape} of the model with these keys of config.model, without memory."""
    gpt = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **settings))
    pure = nnx.to_pure_dict(nnx.state(gpt, nnx.Param))
    return {name: tuple(leaf.shape) for name, leaf in lineage.flatten(pure).items()}


def _widths(entry: Entry, settings: Mapping) -> list[int]:
    """Sizes of the parts joined along the output axis: queries, keys, values."""
    size = flops.head_size(settings)
    kv = (settings["n_kv_head"] or settings["n_head"]) * size
    return [settings["n_head"] * size, kv, kv][: len(entry.theirs)]


def _foreign_shapes(entry: Entry, shape: Sequence[int], settings: Mapping):
    """Shape of each foreign tensor of an entry, for one layer."""
    shape = tuple(shape[1:] if entry.ours.startswith("blocks/") else shape)
    if len(entry.theirs) == 1:
        parts = [shape]
    else:
        parts = [(*shape[:-1], width) for width in _widths(entry, settings)]
    return [tuple(reversed(part)) if entry.transpose else part for part in parts]


def to_ours(
    tensors: Mapping[str, np.ndarray], table: Sequence[Entry], settings: Mapping, *, where: str
) -> dict:
    """Our nested parameters, fp32, from foreign tensors {name: array}.

    Raises UserError that names the first tensor that is missing, extra, of another shape or not
    finite.
    """
    wanted = shapes(settings)
    layers = settings["n_layer"]
    expected = {}
    for entry in table:
        numbers = range(layers) if entry.ours.startswith("blocks/") else (0,)
        parts = _foreign_shapes(entry, wanted[entry.ours], settings)
        for name, shape in zip(entry.theirs, parts, strict=True):
            expected |= {name.format(i=i): shape for i in numbers}
    for name, shape in expected.items():
        if name not in tensors:
            raise errors.UserError(f"{where}: tensor {name} {shape} is missing")
        if tuple(tensors[name].shape) != shape:
            got = tuple(tensors[name].shape)
            raise errors.UserError(f"{where}: tensor {name} is {got}, its config wants {shape}")
    for name in tensors:
        if name not in expected:
            raise errors.UserError(f"{where}: tensor {name} has no place in this architecture")
        if not np.isfinite(tensors[name]).all():
            raise errors.UserError(f"{where}: tensor {name} has values that are no numbers")

    def read(name, transpose):
        array = np.asarray(tensors[name], np.float32)
        return array.T if transpose else array

    flat = {}
    for entry in table:
        numbers = range(layers) if entry.ours.startswith("blocks/") else (0,)
        rows = [
            np.concatenate([read(n.format(i=i), entry.transpose) for n in entry.theirs], axis=-1)
            for i in numbers
        ]
        flat[entry.ours] = np.stack(rows) if entry.ours.startswith("blocks/") else rows[0]
    return nested(flat)


def to_theirs(params: Mapping, table: Sequence[Entry], settings: Mapping) -> dict[str, np.ndarray]:
    """Foreign tensors {name: fp32 array} from our nested parameters."""
    flat = lineage.flatten(params)
    tensors = {}
    for entry in table:
        stacked = entry.ours.startswith("blocks/")
        array = np.asarray(flat[entry.ours], np.float32)
        for i in range(settings["n_layer"] if stacked else 1):
            whole = array[i] if stacked else array
            cuts = np.cumsum(_widths(entry, settings))[:-1] if len(entry.theirs) > 1 else []
            for name, part in zip(entry.theirs, np.split(whole, cuts, axis=-1), strict=True):
                part = part.T if entry.transpose else part
                tensors[name.format(i=i)] = np.ascontiguousarray(part)
    return tensors


def nested(flat: Mapping) -> dict:
    """{"a/b": x} -> {"a": {"b": x}}, as JAX arrays."""
    tree: dict = {}
    for name, array in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jnp.asarray(array)
    return tree


def to_host(params: Mapping) -> dict:
    return jax.tree.map(np.asarray, dict(params))
