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

    def parameters(self, dtype: str = "") -> Mapping | None:
        """Those of the base, placed like this run's; None where its checkpoint is gone, changed or
        damaged. Called by all processes. `dtype`: instead of its own."""
        if not self._run.record["ancestors"]:
            return None
        base = self._run.record["ancestors"][0]
        own = self._run.broadcast("see whether the base is there", lambda: _dtype_at_hand(base))
        if not own:
            return None
        places = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, dtype or own, sharding=x.sharding),
            self._program.abstract_params,
        )
        return restore.restore_params(base["path"], base["step"], places, allow_cast=bool(dtype))

    def _establish(self, own: Evaluation) -> None:
        run, base = self._run, self._run.record["ancestors"][0]
        place = f"{base['path']}@{base['step']}"
        origin: dict[str, str] = {}  # on process 0, as `_found`

        def find() -> list[str]:
            self._found, names = comparison.baseline(own, self._candidates())
            origin.update(names)
            return sorted(self._found.absent)

        lacking = run.broadcast("find what the base was measured at", find)
        params = self.parameters() if lacking else None
        measured = {}
        if params is not None:
            run.note(f"{', '.join(lacking)}: {place} is evaluated on the windows of this run")
            measured = self._score(params, lacking)

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
            "eval": {k: x for k, x in means.items() if x is not None and math.isfinite(x)},
            "from": {key: before.get(key, own) if at == own else at for key, at in origin.items()},
        }


def _dtype_at_hand(base: Mapping) -> str:
    """Of the base's parameters; "" where its checkpoint is not what it was."""
    path, number = base["path"], base["step"]
    if number not in layout.steps(path) or not baselines.is_same(path, base):
        return ""
    if integrity.fault(layout.step_dir(path, number)):
        return ""
    return recorded.config(path)["model"]["param_dtype"]
