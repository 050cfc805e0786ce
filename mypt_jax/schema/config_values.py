"""Each value of a config by itself: choices, ranges, and what the model's numbers must divide."""

import difflib
import math
from collections.abc import Mapping

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.runs import lineage

CHOICES = {
    "model.mlp": ("plain", "gated"),
    "model.activation": ("gelu", "gelu_tanh", "silu"),
    "model.norm": ("layernorm", "rmsnorm"),
    "model.position": ("learned", "rope"),
    "model.init": ("scaled_normal", "torch"),
    "model.param_dtype": ("float32", "bfloat16"),
    "model.compute_dtype": ("auto", "float32", "bfloat16"),
    "model.attention": ("auto", "splash", "cudnn", "xla"),
    "model.remat": ("none", "dots", "full"),
    "optim.schedule": tuple(optim.SCHEDULES),
    "optim.optimizer": tuple(optim.OPTIMIZERS),
    "guard.action": ("stop", "warn", "rollback"),
}
POSITIVE = (
    "num_steps batch_size accumulation_steps model.vocab_size model.block_size model.n_layer "
    "model.n_head model.n_embd model.loss_chunks model.norm_eps model.rope_theta optim.peak_lr "
    "optim.eps optim.clip_norm eval.every_steps eval.windows eval.min_windows "
    "checkpoint.keep_last log.every_steps data.prefetch_batches guard.max_nonfinite_steps "
    "guard.spike_sigma guard.spike_window guard.max_forgetting distributed.timeout_secs "
    "distributed.save_timeout_secs"
).split()
NOT_NEGATIVE = (
    "seed domain_epochs model.n_kv_head model.mlp_width optim.warmup_steps optim.weight_decay "
    "eval.batch_size eval.parent_tolerance_nats checkpoint.every_secs checkpoint.every_steps "
    "checkpoint.keep_best time_budget_secs watchdog_secs profile.start_step profile.num_steps "
    "data.expected_domain_tokens data.expected_general_tokens distributed.num_processes"
).split()
SHARES = (  # in [low, high)
    ("model.dropout", 0.0, 1.0),
    ("optim.beta1", 0.0, 1.0),
    ("optim.beta2", 0.0, 1.0),
)
# Numbers that the device computes with, as float32: what is 0, 1 or inf there means another thing.
COMPUTED = (
    "model.dropout model.norm_eps model.rope_theta optim.peak_lr optim.beta1 optim.beta2 optim.eps "
    "optim.weight_decay optim.clip_norm"
).split()
ELEMENTS = {
    "data.domain": str,
    "data.general": str,
    "eval.extra": str,
    "data.domain_weights": (int, float),
    "data.general_weights": (int, float),
}
MAX_SEED = 2**32  # JAX takes a seed modulo this


def get(config: Mapping, key: str):
    """config["optim"]["peak_lr"] by "optim.peak_lr"."""
    for name in key.split("."):
        config = config[name]
    return config


def plain(config: Mapping) -> dict:
    """A deep copy as dictionaries and tuples."""
    copy = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            copy[key] = plain(value)
        else:
            copy[key] = tuple(value) if isinstance(value, (list, tuple)) else value
    return copy


def check_values(config: dict) -> None:
    """Raises UserError for the first value that is out of its range."""
    for key, value in lineage.flatten(config).items():
        values = value if isinstance(value, tuple) else (value,)
        if any(isinstance(v, float) and not math.isfinite(v) for v in values):
            raise UserError(f"{key.replace('/', '.')} is {value}, wanted a finite number")
    for key, kinds in ELEMENTS.items():
        if not all(isinstance(x, kinds) and not isinstance(x, bool) for x in get(config, key)):
            wanted = "paths" if kinds is str else "numbers"
            raise UserError(f"{key} is {get(config, key)}, wanted {wanted}")
    for key, allowed in CHOICES.items():
        if get(config, key) not in allowed:
            near = difflib.get_close_matches(str(get(config, key)), allowed, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"{key} is {get(config, key)!r}, wanted {' | '.join(allowed)}{hint}")
    for key in POSITIVE:
        if not get(config, key) > 0:
            raise UserError(f"{key} is {get(config, key)}, wanted a positive number")
    for key in NOT_NEGATIVE:
        if get(config, key) < 0:
            raise UserError(f"{key} is {get(config, key)}, wanted 0 or more")
    for key, low, high in SHARES:
        if not low <= get(config, key) < high:
            raise UserError(f"{key} is {get(config, key)}, wanted {low:g} <= value < {high:g}")
    for key in COMPUTED:
        value = get(config, key)
        with np.errstate(over="ignore"):
            single = float(np.float32(value))
        if single != value and (single in (0.0, 1.0) or not 1e-37 < abs(single) < math.inf):
            raise UserError(f"{key} is {value:g}, which is {single:g} in float32")
    if config["seed"] >= MAX_SEED:
        raise UserError(f"seed is {config['seed']}, wanted less than 2**32")
    if not 0.0 <= config["data"]["replay_ratio"] <= 1.0:
        raise UserError(
            f"data.replay_ratio is {config['data']['replay_ratio']}, wanted 0..1 (a share, not %)"
        )
    _check_model(config["model"])
    _check_schedule(config["optim"])
    if config["batch_size"] % config["accumulation_steps"]:
        raise UserError(
            f"batch_size {config['batch_size']} is not divisible by accumulation_steps "
            f"{config['accumulation_steps']}; accumulation_steps="
            f"{_nearest_divisor(config['batch_size'], config['accumulation_steps'])} would do"
        )
    if config["distributed"]["process_id"] < -1:
        raise UserError(
            f"distributed.process_id is {config['distributed']['process_id']}, wanted 0 or more, "
            "or -1 where it is detected"
        )
    if not config["workdir"]:
        raise UserError("workdir is empty, wanted a directory to write to")


def _check_model(model: dict) -> None:
    if model["n_embd"] % model["n_head"]:
        raise UserError(
            f"model.n_embd {model['n_embd']} is not divisible by model.n_head {model['n_head']}; "
            f"n_head={_nearest_divisor(model['n_embd'], model['n_head'])} would do"
        )
    kv_heads = model["n_kv_head"] or model["n_head"]
    if model["n_head"] % kv_heads:
        raise UserError(
            f"model.n_head {model['n_head']} is not divisible by model.n_kv_head {kv_heads}; "
            f"n_kv_head={_nearest_divisor(model['n_head'], kv_heads)} would do"
        )
    if model["position"] == "rope" and model["n_embd"] // model["n_head"] % 2:
        raise UserError(
            f"model.position=rope turns pairs: n_embd / n_head is "
            f"{model['n_embd'] // model['n_head']}, wanted an even number"
        )
    _check_rope_scaling(model["rope_scaling"])
    if model["loss_chunks"] > model["block_size"]:
        raise UserError(
            f"model.loss_chunks {model['loss_chunks']} is more than the {model['block_size']} "
            "positions of model.block_size that it cuts into parts"
        )


def _check_schedule(optim_: dict) -> None:
    if not 0 <= optim_["final_lr_ratio"] <= 1:
        raise UserError(
            f"optim.final_lr_ratio is {optim_['final_lr_ratio']}, wanted 0 to 1: the last learning "
            "rate as a share of peak_lr"
        )
    if not 0 < optim_["decay_ratio"] <= 1:
        raise UserError(
            f"optim.decay_ratio is {optim_['decay_ratio']}, wanted above 0 to 1: a share of "
            "num_steps"
        )


def _check_rope_scaling(scaling: tuple) -> None:
    numbers = all(isinstance(n, (int, float)) and n > 0 for n in scaling)
    if len(scaling) not in (0, 1, 4) or not numbers or (scaling[1:] and scaling[1] >= scaling[2]):
        raise UserError(
            f"model.rope_scaling is {scaling}, wanted (), (factor,) or (factor, low, high, "
            "original block_size), positive and low < high"
        )


def _nearest_divisor(value: int, near: int) -> int:
    return min((n for n in range(1, value + 1) if value % n == 0), key=lambda n: abs(n - near))
