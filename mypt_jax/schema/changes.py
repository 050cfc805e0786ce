"""What a run that exists may change in its config: by what each key decides.

What is called `recorded` is the config of a run, as recorded.config or tree.completed gives it.
"""

from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax import redact
from mypt_jax.runs import baselines, layout, own_tokenizer
from mypt_jax.schema import keys, tree

Differences = Mapping[str, tuple]  # {key: (before, now)}
_READ_ONCE = {"model.init", "optim.moments"}  # what a run begins with, and never asks for again


def between(recorded: Mapping, config: Mapping, *effects: str) -> Differences:
    """What differs of the keys with these effects. Raises UserError for a damaged record."""
    before = tree.flat(recorded)
    now = tree.flat(tree.plain(redact.tree(config)))
    found = {}
    for row in keys.ROWS:
        if row.effect not in effects:
            continue
        if row.name not in before:
            raise UserError(f"config.json has no {row.name}: damaged, or of another program")
        if row.name == "data.tokenizer" and own_tokenizer.are_same(
            config["workdir"], before[row.name], now[row.name]
        ):
            continue
        if row.name == "init_from" and baselines.is_same_start(
            config["workdir"], before[row.name], now[row.name]
        ):
            continue
        if before[row.name] != now[row.name]:
            found[row.name] = (before[row.name], now[row.name])
    return found


def shown(differences: Differences) -> str:
    return "; ".join(f"{name}: {before} -> {now}" for name, (before, now) in differences.items())


def at_resume(recorded: Mapping, config: Mapping) -> Differences:
    """What a start changes in the run that it resumes. Raises UserError where it may not, or where
    it no longer can."""
    found = between(recorded, config, keys.ARCHITECTURE, keys.TRAINING)
    for name, (before, now) in found.items():
        is_kept = name in _READ_ONCE or keys.BY_NAME[name].effect == keys.ARCHITECTURE
        if not is_kept and not _is_other_state(config["workdir"], name, before, now):
            continue
        raise UserError(
            f"{name} is {now}, but the run at {config['workdir']} was started with {before}; "
            "another value wants another --config.workdir"
        )
    return between(recorded, config, keys.TRAINING, keys.EVALUATION, keys.RESUME)


def _is_other_state(workdir: str, name: str, before, now) -> bool:
    """Whether a change wants parts of the state that the newest step has not."""
    if name == "optim.average_ratio":
        return bool(before) != bool(now)
    steps = layout.steps(workdir) if name == "optim.optimizer" else []
    return bool(steps) and layout.has_optimizer(workdir, steps[-1])


def asks_for_more(finished: Mapping, config: Mapping) -> bool:
    """Whether a config wants more steps than a finished run made; `finished` is finished.json.

    One that the guard rolled back made all of its steps.
    """
    return config["num_steps"] > finished["step"] and "rolled_back_from" not in finished


def lost_with_optimizer(recorded: Mapping) -> str:
    """Why a finished run cannot be trained longer from its parameters alone; "" where it can."""
    if recorded["adapter"]["rank"]:
        return "the adapters that it trained are part of its parameters now"
    if recorded["optim"]["average_ratio"]:
        return "its parameters are the mean of its last steps"
    return ""


def is_drawn_back(record: Mapping) -> bool:
    """Whether a run was drawn back to its limit of forgetting when it finished, which more steps
    would undo."""
    return record.get("limit", {}).get("share", 1.0) < 1


def check_finished(recorded: Mapping, config: Mapping, *, step: int) -> None:
    """Raises UserError where the config would have made another model of a finished run."""
    found = between(recorded, config, keys.ARCHITECTURE, keys.TRAINING)
    unused = _evaluated_only(recorded) & _evaluated_only(config)
    found = {name: change for name, change in found.items() if name not in unused}
    if found:
        raise UserError(
            f"run {config['workdir']} is finished (step {step}), with {shown(found)}; "
            "another value wants another workdir (--config.workdir, or --runs_dir of a chain), or "
            "remove the run"
        )


def without_effect(recorded: Mapping, config: Mapping) -> Differences:
    """What differs from a finished run, which it would matter to only if it went on."""
    unused = _evaluated_only(recorded) & _evaluated_only(config)
    trained = between(recorded, config, keys.TRAINING)
    found = {name: change for name, change in trained.items() if name in unused}
    return {**found, **between(recorded, config, keys.EVALUATION, keys.RESUME)}


def _evaluated_only(config: Mapping) -> set[str]:
    """The keys of data of which nothing is trained on: for a base those of the domain."""
    data = config["data"]
    role = {1.0: "domain", 0.0: "general"}.get(data["replay_ratio"])
    return {f"data.{role}", f"data.{role}_weights"} if role and not data["mixture"] else set()
