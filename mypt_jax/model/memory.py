"""What a train step keeps on each device, by formula, and the policy of recomputation that fits.

The formula is checked against ahead-of-time compilation (docs/scaling.md): it says a little more
than the compiler does. Where the exact figure matters, `plan --topology` asks the compiler.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mypt_jax.model import flops
from mypt_jax.model import state as states
from mypt_jax.schema import tree

GIB = 2**30
AUTO = "auto"
# What model.remat=auto tries, the cheapest in time first. `none` is never tried: it keeps three
# times what `light` keeps, and is no faster.
CHEAPEST_FIRST = ("light", "dots", "full")
LANES = 128  # a TPU keeps the last dimension of an array in tiles of so many


class Bytes(NamedTuple):
    """Sizes that follow from the parameter tree."""

    parameters: int  # their number
    params: int  # bytes
    state: int  # bytes of what is trained, its moments and counters
    trained: int  # bytes: of the params, or of adapters
    shares_teacher: bool = False  # what adapters are added to teaches, and is not held twice


class Split(NamedTuple):
    """Sizes of the mesh axes."""

    data: int
    fsdp: int
    tensor: int


def sizes(state: Mapping, params: Mapping) -> Bytes:
    """Of a state, or of its shapes; `params`: of the whole model."""

    def size(tree: Any) -> int:
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

    count = sum(x.size for x in jax.tree.leaves(params))
    return Bytes(count, size(params), size(state), size(state[states.trained(state)]))


def estimate(config: Mapping, size: Bytes, model: Mapping, split: Split) -> dict[str, float]:
    """GiB on each device by part, and their `total`; `model` is config.model for the device, with
    a policy of its own."""
    width = jnp.dtype(model["compute_dtype"]).itemsize
    parts = split.fsdp * split.tensor
    rows = config["batch_size"] / config["accumulation_steps"] / (split.data * split.fsdp)
    tokens = rows * model["block_size"]
    saved = model["n_layer"] * _saved_bytes(model, width, split.tensor)
    # The loss and the backward pass of a block come one after the other.
    logits = 3 * model["vocab_size"] / split.tensor * 4 / model["loss_chunks"]
    block = _saved_bytes({**model, "remat": "none"}, width, split.tensor)
    blocks, head = flops.matrix_parameters(model)
    gathered = (blocks / model["n_layer"] + head) / split.tensor if split.fsdp > 1 else 0
    found = {
        "parameters and moments": size.state / parts,
        "gradients": size.trained / parts,
        "weights in bfloat16": size.parameters * 2 / parts if width == 2 else 0.0,
        "weights gathered": gathered * width,
        "saved activations": tokens * saved,
        "logits, or one block": tokens * max(logits, block),
    }
    is_adapted = size.trained != size.params
    if is_adapted:
        found["weights in bfloat16"] = 0.0  # of adapters: next to nothing
        # Matrices as the products take them; an evaluation merges them, and holds no activations.
        held = ((blocks + head) * width + (size.parameters - blocks - head) * 4) / parts
        found["the model, not trained"] = held
        found["the model, merged"] = max(0.0, held - found["saved activations"])
    if tree.has_effect(config, "objective.teacher") and not size.shares_teacher:
        found["teacher"] = size.parameters * width / parts
    found = {name: value / GIB for name, value in found.items()}
    return {**found, "total": sum(found.values())}


def _saved_bytes(model: Mapping, width: int, tensor: int) -> float:
    """What the backward pass finds of a token in a layer, bytes: `full` the block's input; `dots`
    also the results of all products; `light` in place of the last two of them that of attention,
    and its input to the MLP; `none` about three times as much, a third of it in fp32."""
    D, K = model["n_embd"], flops.head_size(model)
    kv_heads = model["n_kv_head"] or model["n_head"]
    inner = model["n_head"] * K
    qkv = (inner + 2 * kv_heads * K) / tensor
    mlp = flops.mlp_width(model) * (2 if model["mlp"] == "gated" else 1) / tensor
    attended = inner / tensor
    if model["attention"] == "splash":
        attended *= -(-K // LANES) * LANES / K
    # Plain attention keeps scores in fp32 and weights, of every pair of positions.
    pairs = model["n_head"] / tensor * model["block_size"] if model["attention"] == "xla" else 0
    scores = pairs * (4 + width)
    return {
        "full": D * width,
        "dots": (D + qkv + inner + mlp + D) * width,
        "light": (D + qkv + attended + D + mlp) * width + scores,
        "none": 16 * D * width + 12 * D * 4 + scores,
    }[model["remat"]]


class Choice(NamedTuple):
    """A policy, and a line for the user, "" where there is nothing to say."""

    remat: str
    note: str


class Room(NamedTuple):
    """What a policy is chosen by, the same on all processes."""

    limit_gib: float  # of a device, 0 where it does not tell
    had: str = ""  # the policy of the run that is resumed, "" for none


def choose(config: Mapping, size: Bytes, model: Mapping, split: Split, room: Room) -> Choice:
    """The policy that model.remat means; a resumed run keeps the one that it had where it fits."""
    limit_gib, had = room

    def needed(remat: str) -> float:
        return estimate(config, size, {**model, "remat": remat}, split)["total"]

    def shown(remat: str) -> str:
        return f"remat={remat} takes about {needed(remat):.1f} GiB"

    def fits(remat: str) -> bool:
        return not limit_gib or needed(remat) <= limit_gib

    asked = model["remat"]
    fitting = [remat for remat in CHEAPEST_FIRST if fits(remat)]
    if asked != AUTO:
        if fits(asked):
            return Choice(asked, "")
        instead = f"; {shown(fitting[0])}" if fitting else "; smaller parts of the batch would"
        return Choice(
            asked, f"warning: {shown(asked)} of {limit_gib:.1f} on a device by estimate{instead}"
        )
    if had and fits(had):
        return Choice(had, f"remat=auto: {had}, as before")
    remat = fitting[0] if fitting else CHEAPEST_FIRST[-1]
    if had:
        return Choice(
            remat, f"remat=auto: {remat} from here on, since {shown(had)} of {limit_gib:.1f}"
        )
    if not limit_gib:
        return Choice(remat, "")
    return Choice(remat, f"remat=auto: {shown(remat)} of {limit_gib:.1f} on a device by estimate")


def limit_gib(device: jax.Device) -> float:
    """What a program may use of a device: as it says itself, else by its kind, else 0."""
    try:
        stats = device.memory_stats() or {}
    except jax.errors.JaxRuntimeError:  # of a topology that is not here
        stats = {}
    chip = flops.chip_of(device.device_kind)
    known = flops.CHIPS[chip].memory_gib if chip else 0.0
    return stats.get("bytes_limit", 0) / GIB or known
