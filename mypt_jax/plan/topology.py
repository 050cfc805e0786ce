"""Ahead-of-time compilation of the train step for TPUs and GPUs that are not here, on this CPU.

libtpu (requirements-tpu.txt) and the CUDA plugin (gpu.py) compile without a chip; what comes back
is the compiler's own account of the memory per chip. It says nothing about speed, and no speed is
taken from it.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from data_pipeline.errors import UserError
from mypt_jax.distributed import sharding
from mypt_jax.model import flops, memory
from mypt_jax.plan import asked, costs, gpu, here, program_cache
from mypt_jax.train import step

REMAT = memory.CHEAPEST_FIRST
MAX_WINDOWS = 64  # per chip; more is never needed
MAX_TRIES = 4  # compilations in search of the largest batch, a minute or more each


class Memory(NamedTuple):
    """Bytes on one chip, by XLA's account. Where the compiler gave up only `peak` is known, as
    what it would have needed, or 0."""

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
    jax.config.update("jax_platforms", "cpu")


def devices(name: str) -> list:
    """The chips of a topology such as v5e:2x4. Raises UserError when there is no such thing."""
    found = asked.gpus(name)
    if found:
        return gpu.devices(*found)
    match = asked.tpu(name)
    generation, layout, slices = match[1], match[2], int(match[3] or 1)
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
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
                f"topology {name!r} does not exist ({text[-160:]}); try {', '.join(asked.EXAMPLES)}"
            ) from error
        raise UserError(
            f"libtpu cannot be used here, it may be locked by another process ({text[:160]}); "
            "end that process, or set ALLOW_MULTIPLE_LIBTPU_LOAD=1"
        ) from error
    return list(topology.devices)


class Compiled(NamedTuple):
    """What the compiler made of a train step; `text` is "" where it gave up."""

    memory: Memory
    text: str
    slice_size: int  # chips of one slice


def attempt(config: Mapping, name: str, *, eot: int) -> Memory:
    """The memory of the real train step of a config on a topology."""
    return compile_step(config, name, eot=eot, options={}).memory


def check_options(name: str, options: Mapping, *, told: str) -> None:
    """Raises UserError where the compiler of a topology refuses its options, by a program of no
    size: the step itself takes minutes."""
    place = jax.sharding.SingleDeviceSharding(devices(name)[0])
    nothing = jax.jit(lambda x: x, in_shardings=place).lower(jax.ShapeDtypeStruct((), "float32"))
    try:
        nothing.compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{told}: the compiler for {name} refuses it ({why})") from error


def compile_step(config: Mapping, name: str, *, eot: int, options: Mapping) -> Compiled:
    """Compiles the real train step of a config for a topology, with `options` of the compiler, or
    takes what the same program gave before, from config.compile_cache."""
    program = step.build(config, eot=eot, devices=devices(name))
    lowered = here.lower(program)
    found = asked.gpus(name)
    if found:
        usable = gpu.GPUS[found[0]].memory_bytes / costs.GIB
    else:
        usable = flops.CHIPS[name.partition(":")[0]].memory_gib
    known = (
        program.model_config["remat"],
        config["batch_size"],
        program.mesh.size,
        program.mesh.devices.shape,
        usable,
    )
    slice_size = program.mesh.size // sharding.num_slices(list(program.mesh.devices.flat))
    key = program_cache.key(lowered, name, asked.compiler(name), options)
    made = program_cache.load(config["compile_cache"], key)
    if made is None:
        start = time.monotonic()
        try:
            made = _made(lowered.compile(compiler_options=dict(options)), start)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            needed, secs = _needed(str(error)), time.monotonic() - start
            return Compiled(Memory(*known, 0, 0, 0, needed, secs, "does not fit"), "", slice_size)
        program_cache.keep(config["compile_cache"], key, made)
    verdict = "fits" if made["bytes"][-1] <= usable * costs.GIB else "does not fit"
    account = Memory(*known, *made["bytes"], made["secs"], verdict)
    return Compiled(account, made["text"], slice_size)


def _made(compiled: jax.stages.Compiled, start: float) -> dict:
    found: Any = compiled.memory_analysis()
    return {
        "bytes": [
            found.argument_size_in_bytes,
            found.alias_size_in_bytes,
            found.temp_size_in_bytes,
            found.peak_memory_in_bytes,
        ],
        "secs": time.monotonic() - start,
        "text": compiled.as_text(),
    }


def _needed(message: str) -> int:
    """Bytes, of the compiler's message: "Used 17.98G of 15.75G hbm", or "(16.63G) exceeds available
    HBM (15.75G)" for temporaries alone; 0 where it does not tell."""
    size = r"([\d.]+)([KMGT]?)"
    match = re.search(rf"[Uu]sed {size} of {size} hbm|\({size}\) exceeds available", message)
    if not match:
        return 0
    number, unit = (match[1], match[2]) if match[1] else (match[5], match[6])
    return round(float(number) * 1024 ** " KMGT".index(unit or " "))


def search(config: Mapping, name: str, *, eot: int) -> list[Memory]:
    """Every row compiled: the stage's own batch by remat policy, cheapest first, until one fits,
    and the largest batch with the policy that saves most.

    Memory grows nearly in proportion to the batch, and a program that does not fit says what it
    needs: each compilation points at the next one.
    """
    chips = len(devices(name))
    own = -(-config["batch_size"] // chips)
    rows: list[Memory] = []

    def compiled(remat: str, windows: int) -> Memory:
        known = [r for r in rows if (r.remat, r.batch_size) == (remat, windows * chips)]
        if not known:
            rows.append(attempt(_with(config, remat, windows * chips), name, eot=eot))
        return known[0] if known else rows[-1]

    for remat in REMAT:
        if compiled(remat, own).fits:
            break
    points = {own: compiled(REMAT[-1], own)}
    for _ in range(MAX_TRIES):
        windows = _next_windows(points)
        if windows is None:
            break
        points[windows] = compiled(REMAT[-1], windows)
    return rows


def _next_windows(points: Mapping[int, Memory]) -> int | None:
    """How many windows per chip to try next, None when the largest that fits is known."""
    fits = max((n for n, row in points.items() if row.fits), default=0)
    fails = min((n for n, row in points.items() if not row.fits), default=MAX_WINDOWS + 1)
    if fails - fits <= 1:
        return None
    known = sorted((n, row.peak / costs.GIB) for n, row in points.items() if row.peak)
    usable = next(iter(points.values())).usable_gib
    if len(known) > 1:  # a line through the two that are nearest to the limit
        (a, low), (b, high) = sorted(sorted(known, key=lambda p: abs(p[1] - usable))[:2])
        guess = int(a + (usable - low) * (b - a) / max(high - low, 1e-3))
    else:
        guess = 4 * fits if fits else fails // 2
    return min(max(guess, fits + 1), fails - 1)


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
    ended = largest.batch_size >= MAX_WINDOWS * largest.chips
    line = (
        f"  largest batch: {'at least ' if ended else ''}{largest.batch_size} with "
        f"remat={largest.remat}"
        + (f" (the search ends at {MAX_WINDOWS} windows per chip)" if ended else "")
    )
    enough = [r for r in fitting if r.batch_size >= config["batch_size"]]
    if not enough:
        parts = -(-config["batch_size"] // largest.batch_size)
        return f"{line}; batch {config['batch_size']} wants accumulation_steps={parts} or more"
    cheapest = min(enough, key=lambda row: REMAT.index(row.remat))
    return f"{line}; batch {config['batch_size']} fits with remat={cheapest.remat}"
