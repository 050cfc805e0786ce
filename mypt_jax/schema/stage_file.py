"""A stage file of configs/, loaded by its name: "configs/v8.py" or "configs/v8.py:ARGUMENT"."""

import ast
import difflib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from data_pipeline.errors import UserError
from mypt_jax.runs import lineage


def named_by(argv: list[str]) -> str:
    """The value of --config in a command line, as --config=FILE or --config FILE."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            return value if equals else following
    raise UserError("no --config=FILE given; for example --config=configs/v8.py:tiny")


def load(spec: str) -> ConfigDict:
    """The config of a stage file as it stands, without overrides. Raises UserError."""
    path, colon, argument = spec.partition(":")
    if not os.path.isfile(path):
        directory = os.path.dirname(path) or "."
        have = [n for n in _listed(directory) if n.endswith(".py") and not n.startswith("_")]
        there = f"; {directory} has {', '.join(have)}" if have else ""
        raise UserError(f"config file {path} does not exist{there}")
    root = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    if root not in sys.path:  # so that an own stage file finds `from configs import base`
        sys.path.append(root)
    module_spec = importlib.util.spec_from_file_location("stage_file_config", path)
    if module_spec is None:
        raise UserError(f"config file {path} is no Python file; wanted one like configs/v8.py")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        config = module.get_config(argument) if colon else module.get_config()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's own code may raise anything
        raise UserError(f"{spec}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{spec}: get_config returns a {type(config).__name__}, not a ConfigDict")
    return config


def check_keys(arguments: Iterable[str], config: ConfigDict) -> None:
    """Raises UserError for a --config.KEY that the stage does not have, with the nearest one."""
    keys = {key.replace("/", ".") for key in lineage.flatten(config.to_dict())}
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if not (argument.startswith("-") and name.startswith("config.")):
            continue
        key = name.removeprefix("config.")
        if key in keys or any(known.startswith(f"{key}.") for known in keys):
            continue
        leaf = key.rpartition(".")[2]
        same_leaf = [known for known in keys if known.rpartition(".")[2] == leaf]
        near = same_leaf or difflib.get_close_matches(key, keys, 1, 0.5)
        hint = f"; did you mean --config.{near[0]}?" if near else ""
        raise UserError(f"unknown config key {key}{hint}")


def override(config: ConfigDict, arguments: Iterable[str]) -> None:
    """Applies --config.KEY=VALUE without absl flags, with the types that the stage file has."""
    for argument in arguments:
        name, equals, text = argument.lstrip("-").partition("=")
        key = name.removeprefix("config.")
        if not equals:
            raise UserError(f"--config.{key} has no value; give it as --config.{key}=VALUE")
        *groups, leaf = key.split(".")
        group = config
        for part in groups:
            group = group[part]
        group[leaf] = _value(text, group[leaf], key)


def _value(text: str, old, key: str):
    """`text` as the type of `old`. Raises UserError."""
    kind = type(old)
    if kind is str:
        return text
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind is tuple:
            value = ast.literal_eval(text) if text[:1] in "([" else text
            return tuple(value) if isinstance(value, (tuple, list)) else (value,)
    except (ValueError, KeyError, SyntaxError):
        pass
    raise UserError(f"{key} is {text!r}, wanted a {kind.__name__} like {old!r}")


def length_note(stage: Mapping, config: Mapping) -> str:
    """What a bare override of batch_size or num_steps does to the stage's tokens; "" if nothing.

    `stage`: the config without overrides; `config`: the resolved one.
    """

    def tokens(of: Mapping) -> int:
        return of["num_steps"] * of["batch_size"] * of["model"]["block_size"]

    if stage["batch_size"] == config["batch_size"]:
        return ""
    return (
        f"batch_size {config['batch_size']} instead of {stage['batch_size']} changes nothing else: "
        f"{tokens(config):,} tokens, {tokens(config) / tokens(stage):.2f} times the stage's "
        f"{tokens(stage):,}; the argument batch={config['batch_size']} keeps its tokens"
    )


def _listed(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []
