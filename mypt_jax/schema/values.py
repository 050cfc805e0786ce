"""Each value of a config by its row, and what several values must fit together."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax.schema import keys, tree


def check_values(config: Mapping) -> None:
    """Raises UserError for the first value that its row refuses.

    A stage file that unlocks its config may have keys of its own: they are recorded, not read.
    """
    values = tree.flat(config)
    for row in keys.ROWS:
        if row.name not in values:
            raise UserError(f"the config has no {row.name}; configs/base.py has every key")
        _check(row, values[row.name])
    _check_model(config["model"])
    if config["batch_size"] % config["accumulation_steps"]:
        raise UserError(
            f"batch_size {config['batch_size']} is not divisible by accumulation_steps "
            f"{config['accumulation_steps']}; accumulation_steps="
            f"{_nearest_divisor(config['batch_size'], config['accumulation_steps'])} would do"
        )
    if config["optim"]["moments"] == "parent" and config["init_from"] == "scratch":
        raise UserError(
            "optim.moments=parent, but a run from scratch has no parent: set it to fresh"
        )


def _check(row: keys.Key, value: Any) -> None:
    entries = value if isinstance(value, tuple) else (value,)
    if row.is_tuple != isinstance(value, tuple) or not all(
        _is_a(row.entry_type, e) for e in entries
    ):
        raise UserError(f"{row.name} is {value!r}, wanted {row.type_in_words}")
    for entry in entries:
        if isinstance(entry, float) and not math.isfinite(entry):
            raise UserError(f"{row.name} is {value}, wanted a finite number")
        if row.choices and entry not in row.choices:
            near = difflib.get_close_matches(entry, row.choices, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"{row.name} is {entry!r}, wanted {row.allowed}{hint}")
        if entry == "" and row.wanted:
            raise UserError(f"{row.name} is empty, wanted {row.wanted}")
        if not _is_in_range(row, entry):
            raise UserError(f"{row.name} is {value}, wanted {row.allowed}")
        if row.single:
            _check_single(row.name, entry)


def _is_a(kind: type, value: Any) -> bool:
    """Whether a value is of this type; a whole number is a number, and True is none."""
    kinds = (int, float) if kind is float else (kind,)
    return isinstance(value, kinds) and isinstance(value, bool) == (kind is bool)


def _is_in_range(row: keys.Key, value: Any) -> bool:
    return (
        (row.above is None or value > row.above)
        and (row.least is None or value >= row.least)
        and (row.below is None or value < row.below)
        and (row.most is None or value <= row.most)
    )


def _check_single(name: str, value: float) -> None:
    """What is 0, 1 or inf in the device's float32 means another thing there."""
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    if single != value and (single in (0.0, 1.0) or not 1e-37 < abs(single) < math.inf):
        raise UserError(f"{name} is {value:g}, which is {single:g} in float32")


def _check_model(model: Mapping) -> None:
    if not model["head_size"] and model["n_embd"] % model["n_head"]:
        raise UserError(
            f"model.n_embd {model['n_embd']} is not divisible by model.n_head {model['n_head']}; "
            f"n_head={_nearest_divisor(model['n_embd'], model['n_head'])} would do, or head_size"
        )
    kv_heads = model["n_kv_head"] or model["n_head"]
    if model["n_head"] % kv_heads:
        raise UserError(
            f"model.n_head {model['n_head']} is not divisible by model.n_kv_head {kv_heads}; "
            f"n_kv_head={_nearest_divisor(model['n_head'], kv_heads)} would do"
        )
    size = model["head_size"] or model["n_embd"] // model["n_head"]
    if model["position"] == "rope" and size % 2:
        raise UserError(
            f"model.position=rope turns pairs: a head has {size} channels, wanted an even number"
        )
    _check_rope_scaling(model["rope_scaling"])
    if model["loss_chunks"] > model["block_size"]:
        raise UserError(
            f"model.loss_chunks {model['loss_chunks']} is more than the {model['block_size']} "
            "positions of model.block_size that it cuts into parts"
        )


def _check_rope_scaling(scaling: tuple) -> None:
    if len(scaling) not in (0, 1, 4) or (scaling[1:] and scaling[1] >= scaling[2]):
        wanted = keys.BY_NAME["model.rope_scaling"].allowed
        raise UserError(f"model.rope_scaling is {scaling}, wanted {wanted}")


def _nearest_divisor(value: int, near: int) -> int:
    return min((n for n in range(1, value + 1) if value % n == 0), key=lambda n: abs(n - near))
