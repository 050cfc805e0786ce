"""A stage file of configs/, loaded by its name: "configs/v8.py" or "configs/v8.py:ARGUMENT"."""

import importlib.util
import os
import sys
from collections.abc import Mapping

from ml_collections import ConfigDict

from data_pipeline.errors import UserError

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASE = os.path.join(_ROOT, "configs", "base.py")  # has every key


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
