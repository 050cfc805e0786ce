"""Where arrays live: the mesh, and one table from logical axes to mesh axes.

Mesh axes: `data` (replicas, across slices), `fsdp` (parameters, optimizer state and the batch are
split), `tensor` (heads, MLP width and vocabulary are split).
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data_pipeline.errors import UserError

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
MANY_WINDOWS = 1024  # an update of a million tokens; a much larger batch learns less from each
FITTING = "--config.mesh.data=0 --config.mesh.fsdp=1 --config.mesh.tensor=1 chooses sizes that fit"

# Within one array a mesh axis is used once, by the first logical axis that asks for it: the
# `embed` of a parameter is split over fsdp, that of an activation is not, `batch` took fsdp.
RULES: dict[str | None, tuple[str, ...]] = {
    "batch": BATCH_AXES,
    "embed": ("fsdp",),
    "vocab": ("tensor",),
    "qkv": ("tensor",),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "length": (),
    "lookup": (),
    "layer": (),
    None: (),
}


def partition_spec(logical_axes: tuple[str | None, ...]) -> P:
    """The mesh axes of an array whose dims have these logical names."""
    used: set[str] = set()
    dims = []
    for name in logical_axes:
        axes = tuple(axis for axis in RULES[name] if axis not in used)
        used.update(axes)
        dims.append(axes if len(axes) > 1 else axes[0] if axes else None)
    return P(*dims)


def resolve_mesh(
    *,
    data: int,
    fsdp: int,
    tensor: int,
    num_devices: int,
    num_slices: int,
    batch_size: int,
    accumulation_steps: int,
    dims: Mapping[str, Mapping[str, int]],
) -> tuple[tuple[int, int, int], str]:
    """Sizes of the three mesh axes and a note for the user ("" when there is nothing to say).

    data = 0 is auto, see `_auto`. -1 fills one axis with what the others leave. `dims` names, per
    mesh axis, the dims that are split over it ({"tensor": {"n_head": 20}}). `batch_size` windows
    are computed at a time, accumulation_steps times. Raises UserError when
    the sizes do not multiply to the device count, or do not divide the batch or a dim.
    """
    if data == 0 and (fsdp, tensor) == (1, 1):
        return _auto(num_devices, num_slices, batch_size, accumulation_steps, dims)
    if data == 0:
        data = 1 if -1 in (fsdp, tensor) else -1
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) > 1 or any(n == 0 or n < -1 for n in sizes):
        raise UserError(
            f"mesh: got {tuple(sizes)}, wanted positive sizes and at most one -1; {FITTING}"
        )
    if -1 in sizes:
        rest = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = max(1, num_devices // rest)
    if math.prod(sizes) != num_devices:
        raise UserError(
            f"mesh: data x fsdp x tensor = {' x '.join(map(str, sizes))} = {math.prod(sizes)}, "
            f"but there are {num_devices} devices; {FITTING}"
        )
    if sizes[0] % num_slices:
        raise UserError(
            f"mesh: data {sizes[0]} is not divisible by the {num_slices} slices, between which "
            f"only data is split; --config.mesh.data={num_slices} --config.mesh.fsdp=-1 does it"
        )
    parts = sizes[0] * sizes[1]
    if batch_size % parts:
        raise UserError(
            f"mesh: {batch_size} windows at a time (batch_size / accumulation_steps) are not "
            f"divisible by data x fsdp = {sizes[0]} x {sizes[1]}; "
            f"{parts * max(1, batch_size // parts)} are, and {FITTING}"
        )
    for axis, size in zip(MESH_AXES, sizes, strict=True):
        for name, value in dims.get(axis, {}).items():
            if value % size:
                raise UserError(
                    f"mesh: {name} {value} is not divisible by mesh.{axis} {size}; {FITTING}"
                )
    data, fsdp, tensor = sizes
    return (data, fsdp, tensor), ""


def _auto(
    num_devices: int,
    num_slices: int,
    batch_size: int,
    accumulation_steps: int,
    dims: Mapping[str, Mapping[str, int]],
) -> tuple[tuple[int, int, int], str]:
    """The largest divisor of the batch goes to the batch axes, what is left to `tensor`.

    Parameters are split over the batch axes within a slice, as far as their dims allow; the rest
    of those axes is `data`.
    """
    better = _better_batch(num_devices, batch_size, accumulation_steps)
    for parts in range(num_devices, 0, -1):
        tensor = num_devices // parts
        wrong = num_devices % parts or batch_size % parts or parts % num_slices
        if wrong or any(value % tensor for value in dims["tensor"].values()):
            continue
        fsdp = math.gcd(parts // num_slices, *dims["fsdp"].values())
        sizes = (parts // fsdp, fsdp, tensor)
        if tensor == 1:
            return sizes, ""
        return sizes, (
            f"mesh: {batch_size} windows at a time give only {parts} of {num_devices} devices "
            f"some of their own; each matrix is split over {tensor} of them, which is slower than "
            f"{better}"
        )
    heads = ", ".join(f"{name} {value}" for name, value in dims["tensor"].items())
    raise UserError(
        f"mesh: {num_devices} devices fit neither {batch_size} windows at a time nor {heads}; "
        f"{better} uses all of them"
    )


def _better_batch(num_devices: int, batch_size: int, accumulation_steps: int) -> str:
    """What to set so that every device has windows: other parts of the same batch, or a larger."""
    total = batch_size * accumulation_steps
    fitting = [n for n in range(1, total + 1) if total % (n * num_devices) == 0]
    if fitting:
        fewest = min((n for n in fitting if n >= accumulation_steps), default=fitting[-1])
        return f"--config.accumulation_steps={fewest}"
    larger = total * num_devices  # as many for each device as one device would have alone
    if larger > MANY_WINDOWS:
        larger = math.lcm(total, num_devices)
    return f"batch={larger} (the argument after the size)"


def make_mesh(sizes: tuple[int, int, int], devices: list | None = None) -> Mesh:
    """The device mesh; across slices (joined by the data-centre network) `data` is outer.

    Sizes need not fit the chips' own grid: an axis of 8 on a 4 x 4 slice takes half of a line.
    """
    devices = list(devices) if devices is not None else jax.devices()
    types = (AxisType.Auto,) * len(MESH_AXES)
    slices = num_slices(devices)
    if slices > 1:
        inner = (sizes[0] // slices, sizes[1], sizes[2])
        array = mesh_utils.create_hybrid_device_mesh(
            inner, (slices, 1, 1), devices=devices, allow_split_physical_axes=True
        )
    else:
        array = mesh_utils.create_device_mesh(
            sizes, devices=devices, allow_split_physical_axes=True
        )
    return Mesh(array, MESH_AXES, axis_types=types)


def num_slices(devices: list) -> int:
    return len({getattr(device, "slice_index", 0) for device in devices})


def constrain_to(mesh: Mesh) -> Callable[[jax.Array, tuple[str | None, ...]], jax.Array]:
    """A function that pins an activation to the mesh by its logical axes; used inside jit."""
    if mesh.size == 1:
        return lambda x, logical_axes: x

    def constrain(x, logical_axes):
        # A table split over fsdp and tensor at once is gathered over fsdp before rows are looked
        # up, else XLA replicates the rows themselves; without tensor it does better on its own.
        if "lookup" in logical_axes and mesh.shape["tensor"] == 1:
            return x
        return jax.lax.with_sharding_constraint(
            x, NamedSharding(mesh, partition_spec(logical_axes))
        )

    return constrain


@functools.cache
def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of a batch that the devices of this process hold, ascending.

    On a TPU slice they are not one after another: a host has a block of the chips' grid, a mesh
    axis goes along its lines. A `tensor` axis across hosts gives several the same rows.
    """
    sharding = NamedSharding(mesh, P(BATCH_AXES))
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices]))


def global_batch(mesh: Mesh, rows: Any, batch_size: int) -> Any:
    """This process's local_rows of every array [B_local, ...] of a tree -> the same tree of arrays
    [B, ...], split over the batch axes."""
    return jax.tree.map(lambda x: _global_array(mesh, x, batch_size), rows)


def _global_array(mesh: Mesh, rows: np.ndarray, batch_size: int) -> jax.Array:
    numbers = local_rows(mesh, batch_size)
    if len(rows) != len(numbers):
        raise ValueError(f"got {len(rows)} rows, wanted the {len(numbers)} of this process")

    def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        return rows[np.searchsorted(numbers, np.arange(batch_size)[index[0]])]

    return jax.make_array_from_callback(
        (batch_size, *rows.shape[1:]), NamedSharding(mesh, P(BATCH_AXES)), of_device
    )


def to_first(x: jax.Array) -> np.ndarray | None:
    """The whole array as NumPy on process 0, None on the others, which must call it too."""
    if not x.is_fully_replicated:
        assert isinstance(x.sharding, NamedSharding)
        x = _replicate(x.sharding.mesh)(x)
    # All of them wait, so that no device holds more than one whole array at a time.
    x = jax.block_until_ready(x)
    return np.asarray(x.addressable_data(0)) if jax.process_index() == 0 else None


@functools.cache
def _replicate(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, P()))


def to_host(x: jax.Array) -> np.ndarray:
    """The whole array as NumPy on every process."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)
