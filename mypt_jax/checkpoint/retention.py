"""Which steps stay on the disk, what room they need, and how one is taken away.

While a step is written or removed, `checkpoints/<step>.unfinished` stands beside it: a step without
manifest and without that mark has been damaged.
"""

import os
import shutil
from collections.abc import Callable, Mapping

import jax

from mypt_jax import exits
from mypt_jax.runs import integrity, layout

_MARK = ".unfinished"
_TEMPORARY = ".orbax-checkpoint-tmp"


def keeper(config: Mapping) -> Callable[[list[int]], set[int]]:
    """Which of the committed steps of a running stage stay.

    The newest, the best inside the allowed forgetting, the newest inside it, and the last step.
    """

    def keep(committed: list[int]) -> set[int]:
        best = _best(config, committed)
        newest = committed[-config["checkpoint"]["keep_last"] :]
        inside = best and [max(best)]  # where guard.action=rollback would return to
        return {*newest, *inside, *best[: config["checkpoint"]["keep_best"]], config["num_steps"]}

    return keep


def of_finished(config: Mapping, final: int) -> set[int]:
    """The final step, pinned, and the best ones inside the allowed forgetting; of a stage that
    trained adapters the final one alone has parameters."""
    if config["adapter"]["rank"]:
        return {final}
    steps = [step for step in layout.steps(config["workdir"]) if step <= final]
    return {final, *_best(config, steps)[: config["checkpoint"]["keep_best"]]}


def _best(config: Mapping, steps: list[int]) -> list[int]:
    return layout.best_steps(
        config["workdir"], steps, max_forgetting=config["guard"]["max_forgetting"]
    )


def mark(directory: str) -> None:
    """From here on the step may be half there."""
    with open(directory + _MARK, "w", encoding="utf-8"):
        pass


def unmark(directory: str) -> None:
    os.remove(directory + _MARK)


def remove(workdir: str, step: int) -> None:
    """Takes a committed step away; killed in between, it is no longer a step."""
    directory = layout.step_dir(workdir, step)
    mark(directory)
    os.remove(os.path.join(directory, integrity.MANIFEST))
    shutil.rmtree(directory)
    unmark(directory)


def clean(workdir: str) -> None:
    """Removes what saves that were killed have left behind: the owner of the run calls it."""
    directory = layout.join(workdir, layout.CHECKPOINTS)
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        is_empty_step = name.isdecimal() and os.path.isdir(path) and not os.listdir(path)
        if _TEMPORARY in name or is_empty_step:
            shutil.rmtree(path)
        elif name.endswith(_MARK):
            step_path = path.removesuffix(_MARK)
            if os.path.isdir(step_path) and not integrity.is_committed(step_path):
                shutil.rmtree(step_path)
            os.remove(path)


def never_finished(directory: str) -> bool:
    """Whether a step without manifest is one whose save or removal was cut short."""
    if integrity.is_committed(directory):
        return False
    has_files = os.path.isdir(directory) and bool(os.listdir(directory))
    return not has_files or os.path.exists(directory + _MARK)


def strip(workdir: str) -> None:
    """Removes the optimizer state of all steps; a kill in between leaves valid steps."""
    for step in layout.steps(workdir):
        directory = layout.step_dir(workdir, step)
        if integrity.is_committed(directory):
            integrity.forget(directory, "rest")
            shutil.rmtree(os.path.join(directory, "rest"), ignore_errors=True)


def most_steps(keep: Mapping) -> tuple[int, int]:
    """Checkpoints that a run holds at most while it trains, and when it is finished."""
    # The newest inside the allowed forgetting, and one in flight; the final one and the best.
    return keep["keep_last"] + keep["keep_best"] + 2, 1 + keep["keep_best"]


def check_disk(
    workdir: str, abstract_state: Mapping, abstract_params: Mapping, *, keep: Mapping
) -> str:
    """A line on the disk that run and chain need. Raises StorageFailure when two steps do not fit.

    `abstract_params`: of the whole model; `keep`: keep_last, keep_best and keep_optimizer.
    """

    def size(tree) -> int:
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

    full, whole = size(abstract_state), size(abstract_params)
    at_work, at_rest = most_steps(keep)
    own = 0 if "params" in abstract_state else whole  # what adapters make, at the end
    at_rest = 1 if own else at_rest
    finished = at_rest * (full + own if keep["keep_optimizer"] else whole)
    place = os.path.abspath(workdir)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    # One step is always in flight while the one before it must stay.
    needed = full * max(1, 2 - len(layout.steps(workdir))) + own
    line = (
        f"disk: a checkpoint takes {full / 1e9:.2f} GB, this run up to {at_work * full / 1e9:.2f} "
        f"GB, {finished / 1e9:.2f} GB when finished (five stages: "
        f"{(4 * finished + at_work * full) / 1e9:.1f} GB); free: {free / 1e9:.1f} GB"
    )
    if needed > free:
        raise exits.StorageFailure(f"workdir {workdir}: no room for two checkpoints; {line}")
    return line
