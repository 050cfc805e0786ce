"""What a device is, beyond its kind: how it rounds (the model of a CPU, the driver of a GPU), and
what it holds."""

import hashlib
import os
import platform

import jax
import numpy as np
from jax.sharding import Mesh


def fingerprint(device: jax.Device) -> str:
    """Equal on two machines only where the same program should give the same bits.

    "cpu" says nothing: XLA compiles for the instructions that this CPU has.
    """
    if device.platform != "cpu":
        return device.client.platform_version
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    parts = (line.partition(":") for line in reversed(lines) if ":" in line)
    of_first = {name.strip(): value.strip() for name, _, value in parts}
    flags = of_first.get("flags", of_first.get("Features", ""))
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return f"{of_first.get('model name', platform.machine())}, instructions {digest}"


def cores(device: jax.Device) -> int:
    """How many threads a program on a CPU is cut into, each with sums of its own; 0 elsewhere."""
    if device.platform != "cpu":
        return 0
    if os.environ.get("NPROC", "").isdecimal():  # which XLA's pool of threads reads first
        return int(os.environ["NPROC"])
    try:
        return len(os.sched_getaffinity(0))  # what taskset or a container leaves of them
    except AttributeError:
        return os.cpu_count() or 1


def memory_note(*, held_bytes: float, limit_bytes: float) -> str:
    """A warning when parameters, moments and gradients alone do not fit a device, else ""."""
    if held_bytes <= limit_bytes:
        return ""
    return (
        f"warning: state and gradients take {held_bytes / 1e9:.1f} GB per device, which has "
        f"{limit_bytes / 1e9:.1f} GB: split them with --config.mesh.fsdp=-1 over more devices, or "
        "choose a smaller size"
    )


def memory_notes(mesh: Mesh, *held_trees) -> list[str]:
    """Whether what a step holds fits, checked before anything is compiled, where the device tells
    its size."""
    device = mesh.local_devices[0]
    limit = (device.memory_stats() or {}).get("bytes_limit", 0)
    if not limit:
        return []

    def held(tree) -> int:
        return sum(
            x.dtype.itemsize * int(np.prod(x.sharding.shard_shape(x.shape)))
            for x in jax.tree.leaves(tree)
        )

    line = memory_note(held_bytes=sum(map(held, held_trees)), limit_bytes=limit)
    return [line] if line else []
