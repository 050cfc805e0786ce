"""Ahead-of-time compilation of the train step for TPUs that are not here, on this CPU.

libtpu (requirements-tpu.txt) compiles without a chip; what comes back is the compiler's own account
of the memory per chip. It says nothing about speed, and no speed is taken from it.
"""

import importlib.util
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
MAX_WINDOWS = 64  # per chip
GIB = 2**30


class Memory(NamedTuple):
    """Bytes on one chip, by XLA's account; `peak` 0 where the compiler gave up."""

    remat: str
    batch_size: int
    chips: int
    mesh: tuple[int, ...]
    usable_gib: float
    arguments: int  # state and batch
    aliased: int  # of these, handed back in place
    temporaries: int
    peak: int
    compile_secs: float
    verdict: str

    @property
    def fits(self) -> bool:
        return self.verdict == "fits"


def prepare() -> None:
    """Environment in which libtpu compiles for absent chips; before jax touches a device."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")  # of this machine; unused
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ["JAX_PLATFORMS"] = "cpu"


def check_name(name: str) -> re.Match:
    """Raises UserError for what cannot be a topology, or when libtpu is not installed."""
    match = re.fullmatch(r"(v4|v5e|v5p|v6e):(\d+(?:x\d+){1,2})(?:\*(\d+))?", name)
    if match is None:
        raise UserError(
            f"topology {name!r} does not exist: wanted one like {', '.join(EXAMPLES)} "
            "(NAME*N for N slices)"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "--topology needs libtpu, which is not installed: pip install -r requirements-tpu.txt"
        )
    return match


def devices(name: str) -> list:
    """The chips of a topology such as v5e:2x4. Raises UserError when there is no such thing."""
    match = check_name(name)
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
        if "divisible" in text or "Invalid" in text:
            raise UserError(
                f"topology {name!r} does not exist ({text[-160:]}); try {', '.join(EXAMPLES)}"
            ) from error
        raise UserError(
            f"libtpu cannot be used here, it may be locked by another process ({text[:160]}); "
            "end that process, or set ALLOW_MULTIPLE_LIBTPU_LOAD=1"
        ) from error
    return list(topology.devices)


def attempt(config: Mapping, name: str, *, eot: int) -> Memory:
    """Compiles the real train step of a config for a topology."""
    program = step.build(config, eot=eot, devices=devices(name))
    rows = jax.ShapeDtypeStruct((config["batch_size"], config["model"]["block_size"] + 1), np.int32)
    start = time.monotonic()
    usable = USABLE_GIB[name.partition(":")[0]]
    known = (
        config["model"]["remat"],
        config["batch_size"],
        program.mesh.size,
        program.mesh.devices.shape,
        usable,
    )
    try:
        compiled = program.step.lower(
            program.abstract_state, rows, np.float32(0), np.float32(0)
        ).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        verdict = f"does not fit{_needed(str(error))}"
        return Memory(*known, 0, 0, 0, 0, time.monotonic() - start, verdict)
    found = compiled.memory_analysis()
    return Memory(
        *known,
        found.argument_size_in_bytes,
        found.alias_size_in_bytes,
        found.temp_size_in_bytes,
        found.peak_memory_in_bytes,
        time.monotonic() - start,
        "fits" if found.peak_memory_in_bytes <= usable * GIB else "does not fit",
    )


def _needed(message: str) -> str:
    """ ": used 17.98G of 15.75G" from the compiler's message."""
    match = re.search(r"[Uu]sed ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?) hbm", message)
    return f": used {match[1]} of {match[2]}" if match else ""


def search(config: Mapping, name: str, *, eot: int) -> list[Memory]:
    """For each remat policy the largest batch that fits, every row compiled.

    Batches are the chips times a number of windows. Memory grows nearly in proportion to them, so
    two compilations point at the limit, and a third one (rarely a fourth) confirms it.
    """
    chips = len(devices(name))
    rows = []
    for remat in REMAT:

        def compiled(windows, remat=remat):
            rows.append(attempt(_with(config, remat, windows * chips), name, eot=eot))
            return rows[-1]

        first, second = compiled(1), compiled(4)
        if not first.fits:
            continue
        fits, guess = 1, 3
        if second.fits:
            fits = 4
            slope = max(1.0, (second.peak - first.peak) / 3)
            guess = min(MAX_WINDOWS, int(4 + (second.usable_gib * GIB - second.peak) / slope))
        while guess > fits and not compiled(guess).fits:
            guess = min(guess - 1, round(0.9 * guess))
    return rows


def _with(config: Mapping, remat: str, batch_size: int) -> dict:
    return {
        **config,
        "batch_size": batch_size,
        "accumulation_steps": 1,
        "model": {**config["model"], "remat": remat},
        "eval": {**config["eval"], "batch_size": 0},
    }


def advice(config: Mapping, rows: list[Memory]) -> str:
    """The largest batch, and the policy that recomputes least for the stage's own batch."""
    fitting = [row for row in rows if row.fits]
    if not fitting:
        return "  nothing fits: a larger slice is needed"
    largest = max(fitting, key=lambda row: row.batch_size)
    line = f"  largest batch: {largest.batch_size} with remat={largest.remat}"
    enough = [r for r in fitting if r.batch_size >= config["batch_size"]]
    if not enough:
        parts = -(-config["batch_size"] // largest.batch_size)
        return f"{line}; batch {config['batch_size']} wants accumulation_steps={parts} or more"
    cheapest = min(enough, key=lambda row: REMAT.index(row.remat))
    return f"{line}; batch {config['batch_size']} fits with remat={cheapest.remat}"
