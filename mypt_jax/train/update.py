"""The updates of a run: a batch goes to the devices, and the program's step is called."""

import contextlib
from typing import Any

import numpy as np

from data_pipeline.batches.batch import Batch
from mypt_jax.distributed import sharding
from mypt_jax.monitor import goodput, preemption, step_guard, timing
from mypt_jax.train import step
from mypt_jax.train.forgetting import limit as limits


class Update:
    """update(state, batch, done) -> (state, figures), both still on the devices."""

    def __init__(
        self,
        program: step.Program,
        *,
        control: step.Control,
        teacher: dict,
        frozen: dict,
        guard: step_guard.StepGuard,
        limit: limits.Limit,
        ledger: goodput.Ledger,
        watch: timing.Timing,
        interrupts: preemption.Interrupts,
    ):
        """`control`: what stays the same in all updates; `teacher`, `frozen` (what
        adapters are added to): parameters, {} for none."""
        self._program, self._control = program, control
        self._held = [teacher, *([frozen] if frozen else [])]
        self._guard, self._limit, self._ledger, self._watch = guard, limit, ledger, watch
        self._interrupts = interrupts
        self._is_compiled = False
        self._batch_size = program.abstract_batch.source.shape[0]

    def __call__(self, state: dict, batch: Batch, done: int) -> tuple[dict, dict[str, Any]]:
        control = self._control._replace(
            lr=self._program.rates(done),
            max_loss=np.float32(self._guard.threshold(done + 1)),
            replay_weight=self._limit.weight(done + 1),
        )
        on_devices = sharding.global_batch(self._program.mesh, batch, self._batch_size)
        with contextlib.nullcontext() if self._is_compiled else self._compiling():
            state, figures = self._program.step(state, on_devices, control, *self._held)
        own = {"lr": control.lr}
        if self._limit.budget:
            own["replay_weight"] = control.replay_weight
        return state, {**figures, **own}

    @contextlib.contextmanager
    def _compiling(self):
        with self._ledger.phase("compilation"), self._watch.pause():
            yield
        self._is_compiled = True
        # From here on a signal is answered by a save, and no longer by leaving at once.
        self._interrupts.arm()
