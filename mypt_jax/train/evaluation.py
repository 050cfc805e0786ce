"""The evaluations of a run: every source scored, compared with parent and base, and recorded."""

import time
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.monitor import goodput, metrics, preemption
from mypt_jax.runs import evaluations, layout
from mypt_jax.train import averaging, baseline, forgetting, parent_check, step
from mypt_jax.train.run import Run


class Evaluation:
    """evaluation(state, done, row) -> the row of step `done` with what was measured, written."""

    def __init__(
        self,
        run: Run,
        program: step.Program,
        *,
        plan: Mapping,
        shares: Mapping[str, float],
        token_bytes: np.ndarray,
        ledger: goodput.Ledger,
        interrupts: preemption.Interrupts,
    ):
        """`plan`: {key: EvalWindows}; `shares`: of each source in training, which weigh `val`;
        `token_bytes`: bytes of text per token id."""
        self._run, self._program, self._plan, self._shares = run, program, plan, shares
        self._token_bytes = token_bytes
        self._ledger, self._interrupts = ledger, interrupts
        self._batch_size = losses.eval_batch_size(run.config)
        self._baseline = baseline.Baseline(run, program, self._score)

    def compile(self, state: Mapping) -> None:
        """Before the first step, so that later no signal waits for a compilation."""
        with self._ledger.phase("compilation"):
            windows = next(iter(self._plan.values())).tokens
            local = sharding.local_rows(self._program.mesh, self._batch_size)
            rows = windows[local % len(windows)]
            batch = sharding.global_batch(self._program.mesh, rows, self._batch_size)
            jax.block_until_ready(self._program.measure(state["params"], batch))
        self._run.observers.at_evaluation(0)

    def __call__(self, state: Mapping, done: int, row: Mapping) -> dict:
        start = time.monotonic()
        with self._ledger.phase("evaluation"):
            scores = self._score(state["params"], self._plan, done)
            own = evaluations.Evaluation(scores)
            found = losses.rows(scores, self._shares)
            found |= self._beside(state, done)
            self._run.broadcast("keep the evaluation", lambda: self._keep(own, done))
            base = self._baseline(own)
            found |= self._run.broadcast(
                "hear of the evaluation",
                lambda: metrics.finite(forgetting.measure(self._run, own, base)),
            )
            secs = time.monotonic() - start
            row = {"step": done, **row, **found, "eval_secs": secs}
            self._run.write_row(row)
        self._ledger.flush(done)
        return row

    def _score(
        self, params: Mapping, keys: Iterable[str], done: int = 0
    ) -> dict[str, losses.Score]:
        return losses.score(
            self._program.measure,
            params,
            {key: self._plan[key] for key in keys},
            mesh=self._program.mesh,
            batch_size=self._batch_size,
            token_bytes=self._token_bytes,
            between_batches=self._between_batches(done),
        )

    def _beside(self, state: Mapping, done: int) -> dict[str, float]:
        """Scores of the mean of the parameters as average/..; at the end, where the mean is what
        is evaluated, those of the last parameters as raw/.."""
        begin = self._run.record.get(averaging.BEGIN)
        if averaging.NAME not in state or done <= begin:
            return {}
        name = "raw" if done == self._run.config["num_steps"] else averaging.NAME
        found = losses.rows(self._score(state[averaging.NAME], self._plan, done), self._shares)
        return {f"{name}/{key.removeprefix('eval/')}": value for key, value in found.items()}

    def _between_batches(self, done: int) -> Callable[[], None]:
        def between_batches():
            self._run.observers.at_evaluation(done)
            if jax.process_count() == 1:  # several processes leave together, after the next step
                self._interrupts.check()

        return between_batches

    def _keep(self, own: evaluations.Evaluation, done: int) -> None:
        self._run.lease.check()
        evaluations.write(layout.eval_file(self._run.workdir, done), own.sources)
        if done == 0 and self._run.parent is not None:
            parent_check.compare(self._run, own)
