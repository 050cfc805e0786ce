"""The evaluations of a run: every source scored, compared with parent and base, and recorded."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from data_pipeline.batches import mixture
from data_pipeline.batches.eval_windows import REPORT
from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.foretell import under_way
from mypt_jax.model import adapters
from mypt_jax.monitor import goodput, metrics, preemption
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.train import averaging, parent_check, step
from mypt_jax.train.forgetting import baseline, guard, limit
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
        frozen: Mapping,
        domain_epochs: float,
        token_bytes: np.ndarray,
        ledger: goodput.Ledger,
        interrupts: preemption.Interrupts,
    ):
        """`plan`: {key: EvalWindows}; `shares`: of each source in training, which weigh `val`;
        `frozen`: what adapters are added to, {} for none; `domain_epochs`: at the end, with the
        ancestors'; `token_bytes`: bytes of text per token id."""
        self._run, self._program, self._plan, self._shares = run, program, plan, shares
        self._frozen, self._domain_epochs = frozen, domain_epochs
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
            jax.block_until_ready(self._program.measure(self._params(state), batch))
        self._run.observers.at_evaluation(0)

    def __call__(self, state: Mapping, done: int, row: Mapping) -> dict:
        start = time.monotonic()
        is_end = done in (0, self._run.config["num_steps"])
        with self._ledger.phase("evaluation"):
            scores = self._measure(self._params(state), done, is_end=is_end)
            found = losses.rows(scores, self._shares)
            found |= self._beside(state, done)
            found |= self._compare(evaluations.Evaluation(scores), done)
            secs = time.monotonic() - start
            row = {"step": done, **row, **found, "eval_secs": secs}
            row |= self._run.broadcast("hear what is foretold", lambda: self._foretold(row))
            self._run.write_row(row)
        self._ledger.flush(done)
        return row

    def _foretold(self, row: Mapping) -> dict:
        ancestors = self._run.record["ancestors"]
        return under_way.entries(self._run.config, ancestors, row, epochs=self._domain_epochs)

    def _params(self, state: Mapping) -> Mapping:
        """Of the whole model: what adapters make of the parent, until the end has made it."""
        if "params" in state:
            return state["params"]
        return self._program.merge(self._frozen, state[adapters.NAME])

    def complete(self, params: Mapping, done: int) -> None:
        """Measures of a step that has become the result what is measured at the end only."""
        with self._ledger.phase("evaluation"):
            scores = self._measure(params, done, is_end=True)
            self._run.broadcast("keep the evaluation", lambda: self._keep(scores, done))

    def base(self) -> Mapping:
        """The base's parameters, placed like the run's. Raises NoValidState where they are gone."""
        found = self._baseline.parameters()
        if found is None:
            raise self._base_is_gone()
        return found

    def _base_is_gone(self) -> exits.NoValidState:
        base = self._run.record["ancestors"][0]
        return exits.NoValidState(
            f"the base {base['path']}@{base['step']}, to which the limit of forgetting is "
            "held, is gone or changed: bring it back"
        )

    def limited(self, params: Mapping) -> float:
        """What objective.limit_on names, on the half that is chosen on: a role's loss over the
        base's as a share of it, or drift, nats/token."""
        on = self._run.config["objective"]["limit_on"]
        roles = {evaluations.role_of(key) for key in self._plan}
        role = limit.drifting(roles) if on == "drift" else on
        keys = [key for key in self._plan if evaluations.role_of(key) == role]
        scores = self._score(params, keys)
        if on == "drift":
            scores = self._with_drift(params, scores, keys, 0)
            drift = evaluations.Evaluation(scores).mean(role, "drift")
            if drift is None:
                raise self._base_is_gone()
            return drift
        own = evaluations.Evaluation(scores)
        base = self._baseline(own)

        def share() -> float:
            found = comparison.compare(own, base, role)
            if isinstance(found, comparison.Refusal):
                raise UserError(f"the limit of forgetting cannot be held: {found.reason}")
            return found.nats / found.start

        return self._run.broadcast("hear of the limit", share)

    def _measure(self, params: Mapping, done: int, *, is_end: bool) -> dict[str, losses.Score]:
        """What is kept for the report is measured at the end, and at the start, with which that is
        compared; how far the model has moved from the base by eval.drift."""
        keys = [key for key in self._plan if is_end or not key.startswith(REPORT)]
        scores = self._score(params, keys, done)
        when = self._run.config["eval"]["drift"]
        if when == "off" or when == "end" and not is_end:
            return scores
        drifting = _general(keys, kept_only=when == "end")
        if not drifting:
            return scores
        return self._with_drift(params, scores, drifting, done)

    def _compare(self, own: evaluations.Evaluation, done: int) -> dict:
        """Keeps an evaluation, and compares it with those of parent and base."""

        def keep() -> None:
            self._keep(own.sources, done)
            # Step 0 has the parent's parameters: another loss there is a fault of loading.
            if done == 0 and self._run.parent is not None:
                with self._run.data_check.before_blame():
                    parent_check.compare(self._run, own)

        self._run.broadcast("keep the evaluation", keep)
        base = self._baseline(own)
        return self._run.broadcast(
            "hear of the evaluation",
            lambda: metrics.finite(guard.measure(self._run, own, base)),
        )

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

    def _with_drift(
        self, params: Mapping, scores: dict[str, losses.Score], keys: list[str], done: int
    ) -> dict[str, losses.Score]:
        base = self._baseline.parameters(self._program.model_config["compute_dtype"])
        if base is None:
            if self._run.record["ancestors"]:
                self._run.note("drift is not measured: the base's checkpoint is gone or changed")
            return scores
        return losses.with_measure(
            scores,
            functools.partial(self._program.drift, params, base),
            {key: self._plan[key] for key in keys},
            mesh=self._program.mesh,
            batch_size=self._batch_size,
            between_batches=self._between_batches(done),
        )

    def _beside(self, state: Mapping, done: int) -> dict[str, float]:
        """Scores of the mean of the parameters as average/..; at the end, where the mean is what
        is evaluated, those of the last parameters as raw/.."""
        if averaging.NAME not in state or done <= self._run.record[averaging.BEGIN]:
            return {}
        name = "raw" if done == self._run.config["num_steps"] else averaging.NAME
        keys = [key for key in self._plan if not key.startswith(REPORT)]
        found = losses.rows(self._score(state[averaging.NAME], keys, done), self._shares)
        return {f"{name}/{key.removeprefix('eval/')}": value for key, value in found.items()}

    def _between_batches(self, done: int) -> Callable[[], None]:
        def between_batches():
            self._run.observers.at_evaluation(done)
            # An evaluation may take minutes, which a machine that is taken away does not give.
            if jax.process_count() == 1:  # several processes leave together, after the next step
                self._interrupts.check()

        return between_batches

    def _keep(self, sources: Mapping[str, evaluations.Source], done: int) -> None:
        self._run.lease.check()
        evaluations.write(layout.eval_file(self._run.workdir, done), sources)


# Roles of text that the base could say something of before.
_KNOWN_BEFORE = ("general", "elsewhere", mixture.BEHAVIOUR)


def _general(keys: Iterable[str], *, kept_only: bool) -> list[str]:
    """The sources of general text; with `kept_only` of the half for the report, if there is one."""
    roles = {key: evaluations.role_of(key).removeprefix(REPORT) for key in keys}
    found = [key for key, role in roles.items() if role in _KNOWN_BEFORE]
    kept = [key for key in found if key.startswith(REPORT)]
    return kept if kept and kept_only else found
