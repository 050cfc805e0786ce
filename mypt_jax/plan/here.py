"""How long updates take on the machine at hand: the real step, on windows of random ids."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np

from data_pipeline.batches.batch import Batch
from mypt_jax.distributed import sharding
from mypt_jax.train import step

_WARM = 2  # updates that are not timed
_LEAST, _SECS = 3, 8.0  # timed updates, and for how long


class Pace(NamedTuple):
    """What was measured: `devices` such as "2 x cpu"; seconds of one update, the median."""

    devices: str
    secs: float
    tokens: int  # of one update

    def line(self, num_steps: int) -> str:
        minutes = self.secs * num_steps / 60
        long = f"{minutes:.1f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
        return (
            f"here ({self.devices}): {self.secs:.3g} s an update of {self.tokens:,} tokens, "
            f"{self.tokens / self.secs:,.0f} tokens/s; {num_steps:,} updates in {long}, "
            "evaluations and saves on top"
        )


def updates(program: step.Program, rows: Batch) -> Iterator[tuple[float, float]]:
    """(loss, seconds) of one update after another, always on the same windows."""
    control = step.Control(step.dropout_key(0, 0), *np.array([1e-3, np.inf, 1], np.float32))
    state = program.init()
    batch = sharding.global_batch(program.mesh, rows, len(rows.source))
    held = [program.abstract_teacher, *filter(None, [program.abstract_frozen])]
    others = jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), held)
    while True:
        start = time.perf_counter()
        state, figures = program.step(state, batch, control, *others)
        loss = float(figures["loss"])
        yield loss, time.perf_counter() - start


def lower(program: step.Program) -> jax.stages.Lowered:
    """The update as it will be called, ready to be compiled ahead of time."""
    return program.step.lower(  # ty: ignore[missing-attribute]
        program.abstract_state,
        program.abstract_batch,
        step.Control(step.dropout_key(0, 0), *np.zeros(3, np.float32)),
        program.abstract_teacher,
        *filter(None, [program.abstract_frozen]),
    )


def measure(config: Mapping) -> Pace:
    """Compiles the step of a config for all devices here, and times it. Raises UserError."""
    step.set_up_jax(deterministic=config["deterministic"], compile_cache=config["compile_cache"])
    program = step.build(config, eot=0)
    B, L = config["batch_size"], config["model"]["block_size"]
    ids = np.random.default_rng(0).integers(0, config["model"]["vocab_size"], (B, L + 1))
    found: list[float] = []
    rows = Batch(ids.astype(np.int32), np.zeros(B, np.int32))
    for number, (_, secs) in enumerate(updates(program, rows)):
        if number >= _WARM:
            found.append(secs)
        if len(found) >= _LEAST and sum(found) > _SECS:
            break
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return Pace(devices, statistics.median(found), B * L)
