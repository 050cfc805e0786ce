"""The trials of a sweep: one stage with every combination of some values, and several seeds."""

import dataclasses
import itertools
import re
import sys
from collections.abc import Mapping, Sequence

from data_pipeline.errors import UserError
from mypt_jax.chain import stages, standing
from mypt_jax.runs import layout
from mypt_jax.schema import hints, keys, overrides, together, tree, values

_OWN_KEYS = ("workdir", "stage")  # say which run a trial is
_SEED = "seed"
_LIMIT = "objective.max_forgetting"  # of which 0, beside others, is the arm without a limit


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep; `settings`: its own values, {key: as it is typed}."""

    stage: stages.Stage
    settings: Mapping[str, str]
    arguments: tuple[str, ...]  # of mypt_jax.main

    @property
    def workdir(self) -> str:
        return self.stage.workdir

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "mypt_jax.main", *self.arguments]

    def without_effect(self) -> list[str]:
        """A line for each key of the trial that changes nothing."""
        return together.without_effect(self.stage.config, self.stage.overridden)

    def is_done(self) -> bool:
        """Whether the run is finished with these values. Raises UserError where with others."""
        return standing.is_done(self.stage, as_it_is=False)


def read_grid(entries: Sequence[str]) -> dict[str, list[str]]:
    """{"optim.peak_lr": ["3e-4", "9e-4"]} of ["optim.peak_lr=3e-4,9e-4"]. Raises UserError."""
    grid: dict[str, list[str]] = {}
    for entry in entries:
        key, equals, listed = entry.removeprefix("--config.").partition("=")
        found = [value.strip() for value in listed.split(",")]
        if not equals or not all(found):
            raise UserError(f"--grid {entry}: wanted KEY=VALUE,VALUE, as optim.peak_lr=3e-4,9e-4")
        row = keys.BY_NAME.get(key)
        if row is None:
            raise UserError(f"--grid {entry}: unknown config key {key}{hints.hint(key)}")
        if key in _OWN_KEYS:
            raise UserError(f"--grid {entry}: the sweep gives every trial a {key} of its own")
        if row.is_tuple:
            raise UserError(f"--grid {entry}: {key} takes several values itself; sweep another key")
        if key in grid or len({*found}) < len(found):
            raise UserError(f"--grid {entry}: {key} or one of its values stands there twice")
        grid[key] = found
    return grid


def plan(
    spec: str, flags: Sequence[str], grid: Mapping[str, Sequence[str]], *, seeds: int, out_dir: str
) -> list[Trial]:
    """The trials in the order of the grid, all values checked. Raises UserError.

    `flags`: --config.KEY=VALUE of all trials; `seeds`: so many of each, from the stage's own on.
    """
    given = overrides.read([f"--config={spec}", *flags])
    if given.rest:
        line = f"got {given.rest[0]!r}; wanted --config.KEY=VALUE or an option"
        raise UserError(f"{line}{hints.hint(given.rest[0])}")
    if seeds > 1:
        if _SEED in grid:
            raise UserError("--seeds and --grid seed=.. both say which seeds: leave one out")
        grid = {**grid, _SEED: [str(given.config[_SEED] + n) for n in range(seeds)]}
    for key in (*grid, *_OWN_KEYS):
        if key in given.overridden:
            raise UserError(f"--config.{key} is given, and the sweep sets it in every trial")
    own = given.config["objective"]["max_forgetting"]
    if own and any(_is_without_limit(_LIMIT, value, grid) for value in grid.get(_LIMIT, ())):
        raise UserError(
            f"--grid {_LIMIT}=0,..: 0 is the arm without a limit, but {spec} has {own:g}: sweep a "
            "stage file without"
        )
    trials = [
        _trial(spec, flags, dict(zip(grid, chosen, strict=True)), grid, out_dir)
        for chosen in itertools.product(*grid.values())
    ]
    known: dict[str, Trial] = {}
    for one in trials:
        asked = repr([tree.get(one.stage.config, key) for key in grid])
        if (same := known.setdefault(asked, one)) is not one:
            raise UserError(f"{same.workdir} and {one.workdir} would be the same run twice")
    return trials


def _is_without_limit(key: str, value: str, grid: Mapping[str, Sequence[str]]) -> bool:
    """Whether a setting is the arm of no limit beside some with one: not typed, since nobody who
    types a limit of 0 means none."""
    try:
        return key == _LIMIT and float(value) == 0 and len(grid[key]) > 1
    except ValueError:  # which the key's own check refuses
        return False


def _trial(
    spec: str,
    flags: Sequence[str],
    settings: Mapping[str, str],
    grid: Mapping[str, Sequence[str]],
    out_dir: str,
) -> Trial:
    name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
    workdir = layout.join(out_dir, re.sub(r"[^\w.,=+-]", "_", name) or "only")
    own = [
        f"--config.{key}={value}"
        for key, value in settings.items()
        if not _is_without_limit(key, value, grid)
    ]
    arguments = (f"--config={spec}", *flags, *own, f"--config.workdir={workdir}")
    given = overrides.read(arguments)
    config = given.config
    values.check_values(config)
    together.check(config, given.overridden)
    start = "" if config["init_from"] == "scratch" else config["init_from"]
    parent, step = layout.parse_spec(start)
    stage = stages.Stage(config["stage"], workdir, parent, step, config, given.overridden)
    return Trial(stage, settings, arguments)
