"""What stage files share: the table of sizes, the argument behind the colon, and `domain_stage`.

--config=configs/v8.py:tiny                    a row of SIZES
--config=configs/v8.py:750m,batch=96           the same tokens in larger batches
--config=configs/v8.py:750m,batch=96,lr_scaling=none
--config=configs/v3.py:runs/gpt2               architecture and tokenizer of an existing run, and
                                               where its size is a row of SIZES, that row
"""

import json
import math
import os

from ml_collections import ConfigDict

DEFAULT_ARGUMENT = "750m"

# Phase 1 of the guide: source and weight in percent.
PHASE1 = (
    ("wikipedia_en", 50.0),
    ("wikipedia_de", 40.0),
    ("europarl", 3.0),
    ("news_commentary", 2.0),
    ("opensubtitles", 5.0),
)

_FULL = dict(
    vocab_size=50_304,
    block_size=1024,
    batch_size=12,
    step_factor=1.0,  # on num_steps, warmup_steps and eval.every_steps
    base_lr_factor=1.0,
    domain_lr_factor=1.0,
    eval_every_steps=2000,
    eval_windows=1800,
    log_every_steps=10,
)

# A size is a shape, a batch, and what to multiply the guide's steps and learning rates by. The
# factors are 1 except at tiny, where a few hundred steps must show what tens of thousands show.
SIZES = {
    "tiny": dict(
        n_layer=4,
        n_head=4,
        n_embd=128,
        vocab_size=4224,
        block_size=128,
        batch_size=16,
        step_factor=1 / 520,  # base 246 steps, v3 and v5 86, v7 73, v8 37
        base_lr_factor=10 / 3,
        domain_lr_factor=10.0,
        eval_every_steps=60,
        eval_windows=128,
        log_every_steps=5,
    ),
    "150m": dict(_FULL, n_layer=12, n_head=12, n_embd=768),  # 163,122,816 parameters
    "350m": dict(_FULL, n_layer=24, n_head=16, n_embd=1024),  # 406,334,592
    "750m": dict(_FULL, n_layer=32, n_head=20, n_embd=1280),  # 759,656,064
}

_SHAPE_KEYS = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")


def parse_argument(arg: str) -> tuple[str, int | None, str]:
    """Splits "SIZE|RUN[,batch=N][,lr_scaling=sqrt|none]"; ValueError says what is allowed."""
    name, *options = (arg or DEFAULT_ARGUMENT).split(",")
    batch, lr_scaling = None, "sqrt"
    for option in options:
        key, _, value = option.partition("=")
        if key == "batch" and value.isdecimal() and int(value) > 0:
            batch = int(value)
        elif key == "lr_scaling" and value in ("sqrt", "none"):
            lr_scaling = value
        else:
            raise ValueError(
                f"config argument {option!r} is unknown; allowed after the size: "
                "batch=N (N > 0), lr_scaling=sqrt|none"
            )
    if name not in SIZES and not os.path.isfile(os.path.join(name, "config.json")):
        raise ValueError(
            f"config argument {name!r} is neither a size ({', '.join(SIZES)}) "
            "nor a run directory with a config.json"
        )
    return name, batch, lr_scaling


def _row(name: str, config: ConfigDict) -> dict:
    """The row of SIZES, or one made from an existing run's config.json."""
    if name in SIZES:
        return SIZES[name]
    with open(os.path.join(name, "config.json"), encoding="utf-8") as file:
        parent = json.load(file)
    for key, value in parent["model"].items():
        if key in config.model:
            config.model[key] = tuple(value) if isinstance(value, list) else value
    config.data.tokenizer = parent["data"]["tokenizer"]
    own = os.path.join(name, "tokenizer")  # a run's copy of a Hugging Face tokenizer
    if os.path.isfile(os.path.join(own, "tokenizer.json")):
        config.data.tokenizer = f"hf:{own}"
    config.data.bos_at_cuts = parent["data"].get("bos_at_cuts", False)
    # By train tokens, so that a general directory of one's own needs no weights beside it.
    config.data.general_weights = ()
    # A run of one of our sizes keeps its steps and rates; of another model, the guide's are taken.
    row = SIZES.get(parent.get("size"), _FULL)
    return dict(row, **{key: parent["model"][key] for key in _SHAPE_KEYS})


def _scale(config: ConfigDict, row: dict, batch: int | None, lr_scaling: str, lr: float) -> None:
    """Turns the guide's steps and rates into this size's and this batch's: literals, once.

    A batch larger by a factor k: steps, warmup and evaluation interval / k, peak_lr * sqrt(k)
    (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
    """
    factor = (batch or row["batch_size"]) / row["batch_size"]
    steps = row["step_factor"] / factor
    config.batch_size = batch or row["batch_size"]
    config.num_steps = max(1, round(config.num_steps * steps))
    if config.optim.warmup_steps >= 1:
        config.optim.warmup_steps = float(max(1, round(config.optim.warmup_steps * steps)))
    lr *= math.sqrt(factor) if lr_scaling == "sqrt" else 1.0
    config.optim.peak_lr = float(f"{config.optim.peak_lr * lr:.6g}")
    config.eval.every_steps = max(1, round(row["eval_every_steps"] / factor))


def apply_size(config: ConfigDict, arg: str) -> None:
    """Gives the base config the shape, batch, steps, rates and places of its size."""
    name, batch, lr_scaling = parse_argument(arg)
    row = _row(name, config)
    for key in _SHAPE_KEYS:
        config.model[key] = row[key]
    _scale(config, row, batch, lr_scaling, row["base_lr_factor"])
    config.eval.windows = row["eval_windows"]
    config.log.every_steps = row["log_every_steps"]
    config.size = name if name in SIZES else os.path.basename(os.path.normpath(name))
    config.workdir = run_path(name, config.stage)
    if name == "tiny":
        config.model.scan_layers = False  # so few layers compile as fast, and run faster on a CPU
        config.data.tokenizer = "gpt2-4096"
        config.data.domain = ("data/demo/domain",)
        config.data.general = ("data/demo/general",)
        config.data.general_weights = ()


def run_path(name: str, stage: str) -> str:
    """runs/<size>/<stage>; for an existing run: itself as base, and its stages inside it."""
    if name in SIZES:
        return f"runs/{name}/{stage}"
    run = os.path.normpath(name)
    return run if stage == "base" else os.path.join(run, stage)


def domain_stage(
    config: ConfigDict,
    arg: str,
    *,
    stage: str,
    init_from: str,
    replay_ratio: float,
    peak_lr: float,
    num_steps: int,
    warmup_steps: float,
) -> ConfigDict:
    """Makes a domain stage of the base config: the five numbers of the guide, and its parent.

    `init_from` names the parent stage; its run is found beside this one.
    """
    name, batch, lr_scaling = parse_argument(arg)
    row = _row(name, config)
    config.stage = stage
    config.workdir = run_path(name, stage)
    config.init_from = run_path(name, init_from)
    config.data.replay_ratio = replay_ratio
    config.optim.peak_lr = peak_lr
    config.num_steps = num_steps
    config.optim.warmup_steps = float(warmup_steps)
    _scale(config, row, batch, lr_scaling, row["domain_lr_factor"])
    return config
