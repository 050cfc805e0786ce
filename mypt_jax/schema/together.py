"""What keys of a config must agree on with each other: no data, and no run, is needed to say so."""

from collections.abc import Callable, Collection, Mapping

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.schema import keys, tree

ADAPTED = ("qkv", "proj", "gate", "up", "down")  # matrices of a block that can have an adapter
# {key: (what leaves it without effect, whether a config has that)}, where that is more than the one
# value of one key, which the row says (keys.Key.only).
_NO_ADAPTER = ("adapter.rank=0", lambda config: not config["adapter"]["rank"])
_MIXTURE = ("data.mixture, which names its own", lambda config: bool(config["data"]["mixture"]))
_IDLE: Mapping[str, tuple[str, Callable[[Mapping], bool]]] = {
    **dict.fromkeys(
        (f"data.{r}{end}" for r in mixture.ROLES for end in ("", "_weights")), _MIXTURE
    ),
    "model.init": ("init_from=RUN", lambda config: config["init_from"] != "scratch"),
    "objective.limit_on": (
        "objective.max_forgetting=0",
        lambda config: not config["objective"]["max_forgetting"],
    ),
    "adapter.alpha": _NO_ADAPTER,
    "adapter.matrices": _NO_ADAPTER,
    "log.wandb_project": (
        "log.trackers without wandb",
        lambda config: "wandb" not in config["log"]["trackers"],
    ),
}


def without_effect(config: Mapping, overridden: Collection[str]) -> list[str]:
    """A line for each key that was typed and changes nothing."""
    found = {key: why for key, (why, is_idle) in _IDLE.items() if is_idle(config)}
    for row in keys.ROWS:
        if not tree.has_effect(config, row.name):
            found[row.name] = f"{row.only[0]}={tree.get(config, row.only[0])}"
    return [
        f"warning: {key} has no effect with {why}"
        for key, why in found.items()
        if key in overridden
    ]


def tokenizer(config: Mapping) -> tokenizers.Tokenizer:
    """That of the config. Raises UserError where the model has too few ids for it."""
    found = tokenizers.get(config["data"]["tokenizer"])
    vocab_size = config["model"]["vocab_size"]
    if found.vocab_size > vocab_size:
        raise UserError(
            f"model.vocab_size {vocab_size} is smaller than the {found.vocab_size} ids of "
            f"tokenizer {found.name}; wanted {found.padded_vocab_size}"
        )
    return found


def check(config: Mapping, overridden: Collection[str]) -> None:
    """Raises UserError for what is known to be refused before any data is opened."""
    check_adapter(config)
    if not config["data"]["mixture"]:  # which has a replay ratio of its own
        check_objective(config, overridden)


def check_objective(config: Mapping, overridden: Collection[str]) -> None:
    """Raises UserError for an objective, or a limit of forgetting, that nothing would follow or
    show. Wants data.replay_ratio as data.mixture decides it; `overridden`: the keys that were
    typed."""
    wanted = config["objective"]
    has_teacher = tree.has_effect(config, "objective.teacher")
    if has_teacher and config["data"]["replay_ratio"] == 0:
        raise UserError(
            f"objective.replay={wanted['replay']} compares on replay windows, but "
            "data.replay_ratio is 0: give replay a share, or set objective.replay=ce"
        )
    if not wanted["max_forgetting"]:
        # Off by default; who types it asks for a limit, and would train without one.
        if "objective.max_forgetting" in overridden:
            raise UserError(
                "objective.max_forgetting is 0, which no training keeps: give a share of the "
                "base's loss such as 0.01, or leave it out for no limit"
            )
        return
    told = f"objective.max_forgetting={wanted['max_forgetting']:g}"
    if not has_teacher:
        raise UserError(
            f"{told} is held by the weight of a teacher's words: set objective.replay=kl"
        )
    if wanted["teacher"] != "base":
        raise UserError(
            f"{told} is held on the line to the base: set objective.teacher=base, not "
            f"{wanted['teacher']}"
        )
    if config["guard"]["action"] == "rollback":
        raise UserError(
            f"{told} is held at the end of a run, and guard.action=rollback takes an earlier step, "
            "at which it is not: set guard.action=stop or warn"
        )
    if not wanted["replay_weight"]:
        raise UserError(f"{told} multiplies objective.replay_weight, which is 0: give it a start")
    if wanted["limit_on"] == "drift" and config["eval"]["drift"] != "always":
        raise UserError(f"{told} on drift wants it at every evaluation: set eval.drift=always")


def check_adapter(config: Mapping) -> None:
    """Raises UserError for matrices that the model has not, adapters no smaller than these,
    and for what knows no adapters."""
    matrices, model, rank = (
        config["adapter"]["matrices"],
        config["model"],
        config["adapter"]["rank"],
    )
    if not rank:
        return
    told = f"adapter.rank={rank}"
    has = [name for name in ADAPTED if name != "gate" or model["mlp"] == "gated"]
    unknown = [name for name in matrices if name not in has]
    if unknown or not matrices or len({*matrices}) < len(matrices):
        raise UserError(
            f"{told}: adapter.matrices is {matrices}, wanted some of {', '.join(has)}, each once"
        )
    if rank > model["n_embd"]:  # the shorter side of each of them
        raise UserError(
            f"{told} is more than the {model['n_embd']} columns that the matrices have "
            "(model.n_embd): 4 to 64 is usual, and 0 trains the matrices themselves"
        )
    for key, value, instead in (
        ("optim.average_ratio", config["optim"]["average_ratio"] > 0, "0"),
        ("optim.moments=parent", config["optim"]["moments"] == "parent", "fresh"),
        ("guard.action=rollback", config["guard"]["action"] == "rollback", "stop"),
    ):
        if value:
            name = key.partition("=")[0]
            raise UserError(f"{told} does not go together with {key}: set {name}={instead}")
