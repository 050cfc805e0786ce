"""Adapters: a small addition to named matrices is trained, the model itself stays.

y = x W + alpha / rank (x A) B, with A [in, rank] and B [rank, out] (Hu et al. 2021, "LoRA",
arXiv:2106.09685). B begins at zero, so that a stage starts as its parent ended. W is never updated,
has no moments and is not saved again; where the products are in bfloat16 it is held so, which they
would make of it anyway.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mypt_jax.model import gpt, parameters

NAME = "adapter"  # of the part of the state
DOWN, UP = "lora_a", "lora_b"  # beside the kernel that they are added to
MATRICES = {"qkv": "attn", "proj": "attn", "gate": "mlp", "up": "mlp", "down": "mlp"}


class Adapter(NamedTuple):
    """config.adapter: of which matrices of every block, how many columns, how strong."""

    rank: int
    alpha: float
    matrices: Sequence[str]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def of(config: Mapping) -> Adapter | None:
    """What config.adapter wants; None where all parameters are trained."""
    wanted = config["adapter"]
    return Adapter(**wanted) if wanted["rank"] else None


def attach(model: gpt.GPT, adapter: Adapter, key: jax.Array) -> None:
    """Gives the named matrices of a model their adapters, fp32; A is drawn, B is zero."""
    for number, name in enumerate(adapter.matrices):
        linear = getattr(getattr(model.blocks, MATRICES[name]), name)
        N, in_dim, out_dim = linear.kernel.shape
        drawn = jax.random.normal(jax.random.fold_in(key, number), (N, in_dim, adapter.rank))
        linear.lora_a = nnx.Param(drawn / in_dim**0.5)
        linear.lora_b = nnx.Param(jnp.zeros((N, adapter.rank, out_dim)))
        linear.lora_scale = adapter.scale


def split(params: Mapping) -> tuple[dict, dict]:
    """(the model's own parameters, those of its adapters) of a model that has them."""
    own, added = {}, {}
    for name, entry in params.items():
        if isinstance(entry, Mapping):
            parts = split(entry)
            for into, part in zip((own, added), parts, strict=True):
                if part:
                    into[name] = part
        else:
            (added if name in (DOWN, UP) else own)[name] = entry
    return own, added


def join(own: Mapping, added: Mapping) -> dict:
    """The parameters of a model with adapters: what `split` takes apart."""
    found = dict(own)
    for name, entry in added.items():
        found[name] = join(own.get(name, {}), entry) if isinstance(entry, Mapping) else entry
    return found


def merged(own: Mapping, added: Mapping, *, scale: float) -> dict:
    """The parameters of the model that adapters make of another: W + scale A B, summed in fp32, in
    the dtype of W. What is evaluated, kept and inherited."""
    found = {}
    for name, entry in own.items():
        more = added.get(name, {})
        found[name] = merged(entry, more, scale=scale) if isinstance(entry, Mapping) else entry
    if DOWN in added:
        change = jnp.matmul(added[DOWN], added[UP], precision=jax.lax.Precision.HIGHEST)
        kernel = own["kernel"]
        found["kernel"] = (kernel.astype(jnp.float32) + scale * change).astype(kernel.dtype)
    return found


def frozen_places(abstract_params: Any, compute_dtype: str) -> Any:
    """Where the model's own parameters lie while adapters are trained: matrices in the dtype of the
    products, which lose nothing by it; tables and vectors, which fp32 sums read, as they are."""

    def place(path, x):
        role = parameters.of(tuple(key.key for key in path)).role
        dtype = compute_dtype if role == parameters.MATRIX else x.dtype
        return jax.ShapeDtypeStruct(x.shape, dtype, sharding=x.sharding)

    return jax.tree_util.tree_map_with_path(place, abstract_params)
