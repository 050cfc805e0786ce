"""Where an ancestor was measured: the evaluations of its parameters, by whichever run.

An ancestor that saw other windows than a run is replaced by the step 0 of a direct child of it,
whose parameters are the same (a merged run's are its own); the base also by what the start of a run
measured of it.
"""

import os
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
        stages, begins_as_it = _stages_from(path, ancestor, number)
        if stages and number == 0:
            recorded = evaluations.read(layout.baseline_file(path))
            if not recorded.fault:
                yield layout.baseline_file(path), recorded
        if begins_as_it:
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


def is_same_start(workdir: str, before: str, now: str) -> bool:
    """Whether two values of init_from are of one parent: other names of one place, or the place
    where the parent that the run at `workdir` recorded lies now."""
    try:
        (path, step), (place, own_step) = layout.parse_spec(before), layout.parse_spec(now)
        above = layout.record(workdir)["ancestors"]
    except UserError:
        return before == now
    if before == now or step != own_step:
        return before == now
    is_there = bool(above) and is_same(place, above[-1]) and _is_known(place, above[-1])
    return is_there or os.path.realpath(path) == os.path.realpath(place)


def _is_known(path: str, ancestor: Mapping) -> bool:
    """Whether a run that may be this ancestor says so itself: older lineages have no ids."""
    if ancestor.get("run_id"):
        return True
    return (layout.finished(path) or {}).get("params_sha256") == ancestor["params_sha256"]


def _stages_from(path: str, ancestor: Mapping, number: int) -> tuple[int, bool]:
    """(how many stages the run at `path` is from this ancestor, whether it began with its
    parameters); 0 where it is not from it, or began with them in another dtype."""
    try:
        record, config = layout.record(path), layout.config(path)
    except UserError:
        return 0, False
    digests = [one.get("params_sha256") for one in record["ancestors"]]
    if ancestor["params_sha256"] not in digests[number : number + 1]:
        return 0, False
    stages = len(digests) - number
    if stages > 1 or "merged_from" in record:
        return stages, False
    was_cast = _dtype(config) != _dtype(ancestor.get("config", {}))
    return (0, False) if was_cast else (1, True)


def _dtype(config: Mapping) -> str:
    return config.get("model", {}).get("param_dtype", "float32")
