"""A config as nested dictionaries: read by dotted names, copied, and completed where it is old."""

from collections.abc import Mapping
from typing import Any

from mypt_jax.schema import keys


def get(config: Mapping, name: str) -> Any:
    """config["optim"]["peak_lr"] by "optim.peak_lr". Raises KeyError."""
    for part in name.split("."):
        config = config[part]
    return config


def has_effect(config: Mapping, name: str) -> bool:
    """Whether a key has one, with these values of the others."""
    other, *values = keys.BY_NAME[name].only or ("",)
    return not other or get(config, other) in values


def put(config: dict, name: str, value: Any) -> None:
    """config["optim"]["peak_lr"] = value by "optim.peak_lr"; a missing group is made."""
    *groups, leaf = name.split(".")
    for part in groups:
        config = config.setdefault(part, {})
    config[leaf] = value


def flat(config: Mapping, prefix: str = "") -> dict[str, Any]:
    """{"optim.peak_lr": 3e-4} of all values of a config, known keys or not."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def plain(config: Mapping) -> dict:
    """A deep copy as dictionaries and tuples, which JSON gives back as lists."""
    copy = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            copy[key] = plain(value)
        else:
            copy[key] = tuple(value) if isinstance(value, list) else value
    return copy


def completed(config: Mapping) -> dict:
    """A recorded config with the value that its run had, for each key that did not exist then."""
    config = plain(config)
    there = flat(config)
    for row in keys.ROWS:
        if row.name not in there and row.absent is not keys.REQUIRED:
            put(config, row.name, row.absent)
    return config
