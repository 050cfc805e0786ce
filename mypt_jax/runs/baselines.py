"""Where an ancestor was measured: the evaluations of its parameters, by whichever run.

An ancestor that saw other windows than a run is replaced by the step 0 of a direct child of it,
whose parameters are the same; the base also by what the start of a run measured of it.
"""

from collections.abc import Iterable, Iterator, Mapping

from data_pipeline.errors import UserError
from mypt_jax.runs import evaluations, layout
from mypt_jax.runs.evaluations import Evaluation


def candidates(
    ancestors: list[Mapping], number: int, *, place: str, runs: Iterable[str]
) -> Iterator[tuple[str, Evaluation]]:
    """(what it is, evaluation) of ancestor `number` of a lineage (0: the base), its own first.

    `place`: its directory; `runs`: those of runs that may descend from it.
    """
    ancestor = ancestors[number]
    own = evaluations.read(layout.eval_file(place, ancestor["step"]))
    if not own.fault and not is_same(place, ancestor):
        own = Evaluation({}, fault=f"{place} is not the run that it was")
    yield f"{place}@{ancestor['step']}", own
    for path in runs:
        stages = _stages_from(path, ancestor, number)
        if stages and number == 0:
            recorded = evaluations.read(layout.baseline_file(path))
            if not recorded.fault:
                yield layout.baseline_file(path), recorded
        if stages == 1:
            yield f"step 0 of {path}", evaluations.read(layout.eval_file(path, 0))


def is_same(path: str, ancestor: Mapping) -> bool:
    """Whether the run at `path` still is this ancestor, not one that was trained there since."""
    try:
        record, finished = layout.record(path), layout.finished(path)
    except UserError:
        return False
    if (ancestor.get("run_id") or record.get("run_id")) != record.get("run_id"):
        return False
    if finished is None or finished["step"] != ancestor["step"]:
        return True
    return finished.get("params_sha256") == ancestor["params_sha256"]


def _stages_from(path: str, ancestor: Mapping, number: int) -> int:
    """How many stages the run at `path` is from this ancestor; 0 where it is not from it, or began
    with its parameters in another dtype."""
    try:
        ancestors, config = layout.record(path)["ancestors"], layout.config(path)
    except UserError:
        return 0
    digests = [one.get("params_sha256") for one in ancestors]
    if ancestor["params_sha256"] not in digests[number : number + 1]:
        return 0
    stages = len(ancestors) - number
    was_cast = _dtype(config) != _dtype(ancestor.get("config", {}))
    return 0 if stages == 1 and was_cast else stages


def _dtype(config: Mapping) -> str:
    return config.get("model", {}).get("param_dtype", "float32")
