"""What there is of a stage already: finished or not, with which values, and what it starts from."""

from collections.abc import Callable, Mapping
from pathlib import Path

from data_pipeline import errors
from mypt_jax.chain import stages
from mypt_jax.runs import kinds, layout, lineage
from mypt_jax.schema import changes, duration, keys, parents, recorded, tree
from mypt_jax.storage import bucket, fetch


def finished(path: str) -> bool:
    return _exists(path, layout.FINISHED)


def has_parent(stage: stages.Stage) -> bool:
    """Whether what a stage starts from is there: a finished run, or a named step of one that never
    finishes (a guard stopped it)."""
    if finished(stage.parent) or not stage.parent_step.isdecimal():
        return finished(stage.parent)
    number = f"{int(stage.parent_step):08d}"
    return _exists(stage.parent, "checkpoints", number, "manifest.json")


def is_done(stage: stages.Stage, *, as_it_is: bool) -> bool:
    """Whether a stage is finished, and no other length is asked for, on which main decides.

    Raises UserError where it was trained with other values, unless it is taken `as_it_is`.
    """
    if as_it_is or not finished(stage.workdir):
        return finished(stage.workdir)
    end = _read(stage.workdir, layout.FINISHED, kinds.FINISHED)
    before = tree.completed(_read(stage.workdir, layout.CONFIG, recorded.KIND))
    config = as_recorded(stage, before)
    epochs = config["domain_epochs"]
    if changes.asks_for_more(end, config) or (epochs and epochs != before["domain_epochs"]):
        return False
    changes.check_finished(before, config, step=end["step"])
    return True


def as_recorded(stage: stages.Stage, before: dict) -> dict:
    """The stage's config as its run would record it, for which its data need not be here."""
    start = stage.parent_spec or "scratch"
    config = {**tree.plain(stage.config), "workdir": stage.workdir, "init_from": start}
    config = fetch.local_names(config)
    # What follows from the datasets is as it was, where what it follows from is.
    if config["domain_epochs"] and config["domain_epochs"] == before["domain_epochs"]:
        duration.lengthen(config, before["num_steps"], stage.overridden)
    if config["data"]["mixture"] and config["data"]["mixture"] == before["data"]["mixture"]:
        config["data"]["replay_ratio"] = before["data"]["replay_ratio"]
    duration.resolve_warmup(config)
    return config


def check_parent(stage: stages.Stage, planned: Mapping[str, stages.Stage]) -> None:
    """Raises UserError where a stage cannot start from its parent, which is there or `planned`, by
    workdir."""
    config = {**stage.config, "workdir": stage.workdir}
    if stage.parent in planned:
        parents.check_planned(planned[stage.parent].config, config, path=stage.parent)
    elif finished(stage.parent) and "://" in stage.parent:
        before = tree.completed(_read(stage.parent, layout.CONFIG, recorded.KIND))
        parents.check_architecture(before, config, path=stage.parent)
    elif finished(stage.parent):
        parents.check(config, stage.parent_spec)


def check_finished_ancestors(
    chain: list[stages.Stage], load: Callable[[str], stages.Stage]
) -> None:
    """Raises UserError where an override of --all would reach an ancestor that is finished with
    another value, of which the stages would start."""
    asked = {stage.workdir for stage in chain}
    for stage in chain:
        while stage.parent and stage.parent not in asked and finished(stage.parent):
            asked.add(stage.parent)
            found = stages.find(stage.parent, load)
            if isinstance(found, str):
                break  # an import, or a run of no stage file
            stage = found
            before = tree.completed(_read(stage.workdir, layout.CONFIG, recorded.KIND))
            now = as_recorded(stage, before)
            for key in sorted(filter(_is_recipe, stage.overridden)):
                had, wanted = tree.get(before, key), tree.get(now, key)
                if had != wanted:
                    raise errors.UserError(
                        f"--all gives {key} {wanted} to {stage.name}, but {stage.workdir} is "
                        f"finished with {had}: leave --all out, or train it anew with --runs_dir"
                    )


def _is_recipe(key: str) -> bool:
    row = keys.BY_NAME.get(key)
    return row is not None and row.is_recipe


def _exists(path: str, *names: str) -> bool:
    """Whether a small file of a run is there, on the disk or in a bucket."""
    if "://" not in path:
        return Path(path, *names).exists()
    return bucket.Bucket(path).read("/".join(names)) is not None


def _read(path: str, name: str, wanted: dict) -> dict:
    """A JSON file of a run, on the disk or in a bucket. Raises UserError."""
    where, what = layout.join(path, name), f"run {path}"
    if "://" not in path:
        return lineage.read_json(where, what=what, wanted=wanted)
    data = bucket.Bucket(path).read(name) or b"{}"
    return lineage.parse_json(data, where, what=what, wanted=wanted)
