"""A stage file of configs/, loaded by its name: "configs/v8.py" or "configs/v8.py:ARGUMENT"."""

import functools
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from data_pipeline.errors import UserError
from mypt_jax import shipped

BASE = os.path.join(shipped.STAGES, "base.py")  # has every key
_PACKAGE = "configs"  # as stage files import each other


def load(spec: str) -> ConfigDict:
    """The config of a stage file as it stands, without overrides. Raises UserError."""
    named, colon, argument = spec.partition(":")
    path = shipped.find(named)
    if not os.path.isfile(path):
        directory = os.path.dirname(path) or "."
        have = ", ".join(f"{name}.py" for name in shipped.names(directory))
        there = f"; {directory} has {have}" if have else ""
        raise UserError(f"config file {path} does not exist{there}")
    if path != named:
        _say_ours(os.path.dirname(path))
    _bind(shipped.package_of(path))
    module_spec = importlib.util.spec_from_file_location("stage_file_config", path)
    if module_spec is None or module_spec.loader is None:
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


class Writer(NamedTuple):
    """The stage file that writes a run, "" for none."""

    file: str
    is_sure: bool  # its workdir is that of the run: else it has the name of the run's directory
    why: str  # a file of that name is not it; "" where there is none of that name


def writer(run: str, beside: str, workdir_of: Callable[[str], str]) -> Writer:
    """Which file trains the run at a path that need not be there: the one of its directory's name
    in the directory `beside` or in configs/, else any file of configs/.

    `workdir_of`: where a file's run lies; raises UserError for a file that is not asked for.
    """
    name = f"{os.path.basename(run)}.py"
    named = dict.fromkeys(os.path.join(place, name) for place in (beside, shipped.HERE))
    others = (os.path.join(shipped.HERE, f"{one}.py") for one in shipped.names())
    by_name, why = "", ""
    for file in (*named, *(one for one in others if one not in named)):
        if not os.path.isfile(shipped.find(file)):
            continue
        try:
            workdir = workdir_of(file)
        except UserError as error:
            why = why or (str(error) if file in named else "")
            continue
        if os.path.normpath(workdir) == os.path.normpath(run):
            return Writer(file, True, "")
        by_name = by_name or (file if file in named else "")
    return Writer(by_name, False, why)


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


@functools.cache
def _say_ours(directory: str) -> None:
    sys.stderr.write(
        f"{shipped.HERE}/ here lacks the stage file: taken from {directory}; `mypt stages "
        f"{shipped.HERE}` copies all of them out\n"
    )


def _bind(directory: str) -> None:
    """Makes `from configs import base` mean the files of `directory`."""
    bound = getattr(sys.modules.get(_PACKAGE), "__path__", ())
    if [os.path.realpath(one) for one in bound] == [os.path.realpath(directory)]:
        return
    for name in [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
    package = importlib.machinery.ModuleSpec(_PACKAGE, None, is_package=True)
    package.submodule_search_locations = [directory]
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(package)
