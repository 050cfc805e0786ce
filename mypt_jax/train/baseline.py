"""The base stage on the windows of this run: what forgetting is measured against."""

import math
from collections.abc import Callable, Mapping

import jax

from mypt_jax.checkpoint import restore
from mypt_jax.runs import baselines, comparison, evaluations, integrity, layout
from mypt_jax.runs.evaluations import Evaluation, Source
from mypt_jax.schema import recorded
from mypt_jax.train import step
from mypt_jax.train.run import Run

Score = Callable[[Mapping, list[str]], Mapping[str, Source]]  # parameters, on these sources


class Baseline:
    """baseline(own) -> what the base stage was measured at on the windows of `own`; on process 0.

    Found among the evaluations of the lineage; where none saw these windows, the base's checkpoint
    is evaluated on them. Kept in eval/baseline.npz, and told in the lineage.
    """

    def __init__(self, run: Run, program: step.Program, score: Score):
        self._run, self._program, self._score = run, program, score
        self._asked: set[str] = set()
        self._found = Evaluation({})

    def __call__(self, own: Evaluation) -> Evaluation:
        """Called by all processes."""
        if self._run.record["ancestors"] and not {*own.sources} <= self._asked:
            self._asked |= {*own.sources}
            self._establish(own)
        return self._found

    def _establish(self, own: Evaluation) -> None:
        run, base = self._run, self._run.record["ancestors"][0]
        place = f"{base['path']}@{base['step']}"
        origin: dict[str, str] = {}  # on process 0, as `_found`

        def find() -> list:
            self._found, names = comparison.baseline(own, self._candidates())
            origin.update(names)
            lacking = sorted(self._found.absent)
            return [lacking, self._dtype_at_hand(base) if lacking else ""]

        lacking, dtype = run.broadcast("find what the base was measured at", find)
        measured = {}
        if dtype:
            run.note(f"{', '.join(lacking)}: {place} is evaluated on the windows of this run")
            measured = self._score(self._load(base, dtype), lacking)

        def keep() -> dict:
            absent = {key: why for key, why in self._found.absent.items() if key not in measured}
            self._found = Evaluation({**self._found.sources, **measured}, absent)
            origin.update(dict.fromkeys(measured, place))
            run.lease.check()
            evaluations.write(layout.baseline_file(run.workdir), self._found.sources)
            return self._record(base, origin)

        run.record["baseline"] = run.broadcast("hear of the baseline", keep)
        if run.is_writer:
            run.write_lineage()

    def _candidates(self):
        ancestors = self._run.record["ancestors"]
        base, *others = [ancestor["path"] for ancestor in ancestors]
        runs = [*others, self._run.workdir]
        return baselines.candidates(ancestors, 0, place=base, runs=runs)

    def _dtype_at_hand(self, base: Mapping) -> str:
        """Of the base's parameters; "" where its checkpoint is gone, changed or damaged."""
        path, number = base["path"], base["step"]
        if number not in layout.steps(path) or not baselines.is_same(path, base):
            return ""
        if integrity.fault(layout.step_dir(path, number)):
            return ""
        return recorded.config(path)["model"]["param_dtype"]

    def _load(self, base: Mapping, dtype: str) -> Mapping:
        """The base's parameters as it had them, placed like this run's."""
        places = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, dtype, sharding=x.sharding),
            self._program.abstract_state["params"],
        )
        return restore.restore_params(base["path"], base["step"], places)

    def _record(self, base: Mapping, origin: Mapping[str, str]) -> dict:
        """What the lineage says of it: losses, and where each source was measured."""
        before = (self._run.record["baseline"] or {}).get("from", {})
        own = layout.baseline_file(self._run.workdir)
        roles = dict.fromkeys(map(evaluations.role_of, self._found.sources))
        means = {name: self._found.mean(name) for name in (*roles, *self._found.sources)}
        return {
            "stage": base["stage"],
            "path": base["path"],
            "step": base["step"],
            "eval": {name: mean for name, mean in means.items() if math.isfinite(mean)},
            "from": {key: before.get(key, own) if at == own else at for key, at in origin.items()},
        }
