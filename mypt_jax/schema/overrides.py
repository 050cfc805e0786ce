"""The --config.KEY=VALUE of a command line, read by ml_collections' own flags for every command.

A bare --config.KEY and --noconfig.KEY are True and False, a tuple is typed as 1,2 or "('a','b')" or
by repeating its flag, and --flagfile=FILE holds a flag per line.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from data_pipeline.errors import UserError
from mypt_jax import shipped
from mypt_jax.schema import hints, keys, stage_file, tree

# These say which run a stage is, so one value cannot serve several.
OWN_KEYS = ("workdir", "init_from", "stage")
_CONFIG = ("--config", "-config")


class Given(NamedTuple):
    """What a command line says of a stage."""

    spec: str  # configs/v8.py:tiny
    stage: dict  # the values of the stage file
    config: dict  # with the overrides
    overridden: frozenset[str]  # "optim.peak_lr"
    rest: list[str]  # arguments that concern no key
    flags: tuple[str, ...]  # all but --config=FILE


def read(arguments: Sequence[str]) -> Given:
    """The stage that --config=FILE names, with overrides. Raises UserError."""
    spec, others = _split(expand(arguments))
    if not spec:
        raise UserError("no --config=FILE given; for example --config=configs/v8.py:tiny")
    config = stage_file.load(spec)
    stage = tree.plain(config.to_dict())
    overridden, rest = apply(config, others)
    _check_stage(spec, stage, overridden)
    values = tree.plain(config.to_dict())
    return Given(spec, stage, values, overridden, rest, tuple(others))


def _check_stage(spec: str, stage: Mapping, overridden: Collection[str]) -> None:
    """Raises UserError for a copied stage file that would take the runs of the other."""
    name = os.path.basename(spec.partition(":")[0]).removesuffix(".py")
    owner = os.path.basename(stage["workdir"])
    if "workdir" not in overridden and owner != name and owner in shipped.names():
        raise UserError(
            f"{spec} would go on with {stage['workdir']}, the run of {owner}.py: set its stage to "
            f"{name!r}, and its workdir, or give --config.workdir"
        )


def expand(arguments: Sequence[str]) -> list[str]:
    """The arguments with the lines of a --flagfile=FILE in its place. Raises UserError."""
    try:
        return flags.FlagValues().read_flags_from_files(list(arguments))
    except flags.Error as error:
        raise UserError(str(error).removeprefix("ERROR:: ")) from error


def apply(config: ConfigDict, arguments: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Sets in `config` what the arguments say; (keys that they name, arguments on other things).

    Raises UserError for a key that does not exist and for a value of another type.
    """
    for argument in arguments:
        if argument.partition("=")[0] in _CONFIG:
            raise UserError(f"got {argument!r}; wanted --config.KEY=VALUE")
        found = re.fullmatch(r"--?(?:no)?config\.([^=]*)(=.*)?", argument, re.DOTALL)
        if found:
            _check_key(found[1], config)
    values = flags.FlagValues()
    values.set_gnu_getopt()  # overrides may stand behind arguments of the command
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=list(arguments)
        )
        rest = values(["", *arguments], known_only=True)[1:]
    except flags.IllegalFlagValueError as error:
        raise UserError(_illegal(str(error), config)) from error
    except (flags.Error, ValueError) as error:
        raise UserError(str(error)) from error
    return frozenset(config_flags.get_override_values(values["config"])), rest


def without(arguments: Sequence[str], left_out: Callable[[str], bool]) -> list[str]:
    """The arguments but for the overrides of keys that are `left_out`."""
    found: list[str] = []
    skips = False
    for argument in arguments:
        match = re.fullmatch(r"--?(?:no)?config\.([^=]*)(=.*)?", argument, re.DOTALL)
        if match:
            skips = left_out(match[1])
        elif argument.startswith("-"):
            skips = False
        if not skips:  # a value may stand behind its key as an argument of its own
            found.append(argument)
    return found


def for_ancestor(arguments: Sequence[str]) -> list[str]:
    """Of the overrides of a stage those that its ancestors get as well: which data, model and
    machine, but not how it learns."""

    def is_its_own(name: str) -> bool:
        row = keys.BY_NAME.get(name)
        return row is not None and (row.is_recipe or name in OWN_KEYS)

    return without(arguments, is_its_own)


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """(value of --config=FILE or --config FILE, "" for none; the other arguments)."""
    specs, others, waiting = [], [], iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name in _CONFIG:
            specs.append(value if equals else next(waiting, ""))
        else:
            others.append(argument)
    if len(set(specs)) > 1:
        raise UserError(f"got --config={specs[0]} and --config={specs[1]}, wanted one stage")
    return (specs or [""])[0], others


def _check_key(name: str, config: ConfigDict) -> None:
    values = tree.flat(config.to_dict())
    if name in values:
        return
    group = next((row.name for row in keys.ROWS if row.name.startswith(f"{name}.")), "")
    if group:
        raise UserError(f"{name} is a group of keys; give one, as --config.{group}=VALUE")
    raise UserError(f"unknown config key {name}{hints.hint(name)}")


def _illegal(message: str, config: ConfigDict) -> str:
    """A line on a value that is not of its key's type, of what absl says of it."""
    found = re.match(r"flag --config\.(\S+?)=(.*?): ", message, re.DOTALL)
    row = keys.BY_NAME.get(found[1]) if found else None
    if found is None or row is None:
        return message
    like = "" if row.type is bool else f" like {tree.get(config.to_dict(), row.name)!r}"
    return f"{row.name} is {found[2]!r}, wanted {row.type_in_words}{like}"
