"""Whether state and gradients fit a device, said before anything is compiled."""

import jax
import numpy as np

from mypt_jax.train import step


def note(*, held_bytes: float, limit_bytes: float) -> str:
    """A warning when parameters, moments and gradients alone do not fit a device, else ""."""
    if held_bytes <= limit_bytes:
        return ""
    return (
        f"warning: state and gradients take {held_bytes / 1e9:.1f} GB per device, which has "
        f"{limit_bytes / 1e9:.1f} GB: split them with --config.mesh.fsdp=-1 over more devices, or "
        "choose a smaller size"
    )


def notes(program: step.Program) -> list[str]:
    """Checked before anything is compiled, where the device tells its size."""
    device = program.mesh.local_devices[0]
    limit = (device.memory_stats() or {}).get("bytes_limit", 0)
    if not limit:
        return []

    def held(tree) -> int:
        return sum(
            x.dtype.itemsize * int(np.prod(x.sharding.shard_shape(x.shape)))
            for x in jax.tree.leaves(tree)
        )

    state = program.abstract_state
    line = note(held_bytes=held(state) + held(state["params"]), limit_bytes=limit)
    return [line] if line else []
