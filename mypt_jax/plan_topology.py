"""Ahead-of-time compilation of the train step for TPUs that are not here, on this CPU.

libtpu (requirements-tpu.txt) compiles without a chip; what comes back is the compiler's own account
of the memory per chip. It says nothing about speed, and no speed is taken from it.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies

from data_pipeline.errors import UserError
from mypt_jax import step

EXAMPLES = ("v5e:1x1", "v5e:2x4", "v4:2x2x1", "v5p:2x2x1", "v6e:2x2", "v5e:16x16")
# Bytes that a program may use: the chip's memory less what the runtime keeps (XLA's own limits).
USABLE_GIB = {"v4": 30.75, "v5e": 15.75, "v5p": 95.0, "v6e": 31.25}
REMAT = ("none", "dots", "full")  # cheapest in time first
GIB = 2**30


class Memory(NamedTuple):
    """Bytes on one chip, by XLA's account, and how long the compilation took."""

    arguments: int  # state and batch
    aliased: int  # of these, handed back in place
    temporaries: int
    peak: int
    compile_secs: float


def prepare() -> None:
    """Environment in which libtpu compiles for absent chips; before jax touches a device."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ["JAX_PLATFORMS"] = "cpu"


def devices(name: str) -> list:
    """The chips of a topology such as v5e:2x4. Raises UserError when there is no such thing."""
    wanted = f"wanted one like {', '.join(EXAMPLES)}"
    match = re.fullmatch(r"(v4|v5e|v5p|v6e):(\d+(?:x\d+){1,2})(?:\*(\d+))?", name)
    if match is None:
        raise UserError(f"topology {name!r} does not exist: {wanted} (SLICE*N for several slices)")
    generation, layout, slices = match[1], match[2], int(match[3] or 1)
    options = {"num_slices": slices} if slices > 1 else {}
    if generation == "v4":  # without it every core counts as a device
        options["chip_config_name"] = "megacore"
    if layout == "1x1":  # a host with one chip; the default host has 2 x 2
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{generation}:{layout}", **options
        )
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        if "libtpu" in text.lower() and ("lock" in text.lower() or "in use" in text.lower()):
            raise UserError(
                f"libtpu is locked by another process ({text[:120]}); end that one or set "
                "ALLOW_MULTIPLE_LIBTPU_LOAD=1"
            ) from error
        if "divisible" in text or "Invalid TPU" in text or "nvalid topology" in text:
            raise UserError(f"topology {name!r} does not exist: {wanted}") from error
        raise UserError(
            f"libtpu cannot be used here ({text[:120]}); "
            "pip install -r requirements-tpu.txt, then run plan again"
        ) from error
    return list(topology.devices)


def compile_step(config: Mapping, name: str, *, eot: int) -> tuple[Memory, step.Program]:
    """Compiles the real train step of a config for a topology. Raises UserError.

    A program that does not fit raises DoesNotFit with the compiler's numbers.
    """
    program = step.build(config, eot=eot, devices=devices(name))
    rows = jax.ShapeDtypeStruct((config["batch_size"], config["model"]["block_size"] + 1), np.int32)
    start = time.monotonic()
    scalar = jax.ShapeDtypeStruct((), np.float32)
    lowered = program.step.lower(program.abstract_state, rows, scalar, scalar)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise DoesNotFit(_needed(str(error)), time.monotonic() - start) from error
        raise
    found = compiled.memory_analysis()
    return Memory(
        arguments=found.argument_size_in_bytes,
        aliased=found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        peak=found.peak_memory_in_bytes,
        compile_secs=time.monotonic() - start,
    ), program


class DoesNotFit(UserError):
    """The compiler ran out of the chip's memory; `needed` is its own number, "" if none."""

    def __init__(self, needed: str, compile_secs: float):
        self.needed, self.compile_secs = needed, compile_secs
        super().__init__(
            f"the train step does not fit on one chip: {needed or 'out of memory'}; a larger "
            "slice, a smaller batch (accumulation_steps), remat=full and loss_chunks=16 need less"
        )


def _needed(message: str) -> str:
    """ "Used 17.98G of 15.75G hbm" from the compiler's message."""
    match = re.search(r"[Uu]sed ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?) (?:hbm|vmem|smem)", message)
    return f"used {match[1]} of {match[2]}" if match else ""
