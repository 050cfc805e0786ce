"""The stages of a chain: what a stage file says, where it writes and what it starts from."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from data_pipeline import errors
from mypt_jax import shipped
from mypt_jax.runs import layout
from mypt_jax.schema import hints, overrides, stage_file, together, tree, values


@dataclass(frozen=True)
class Stage:
    """A stage file at one size: where it writes and what it starts from."""

    name: str
    workdir: str
    parent: str  # run path, "" for scratch
    parent_step: str  # what stands behind the path's @, "" for the final step
    config: dict  # with the overrides
    overridden: frozenset[str] = frozenset()
    flags: tuple[str, ...] = ()  # the overrides that reach it
    spared: tuple[str, ...] = ()  # keys that were given, and do not

    @property
    def parent_spec(self) -> str:
        """As init_from names the parent."""
        return "@".join(part for part in (self.parent, self.parent_step) if part)


def load(name: str, argument: str, runs_dir: str, flags: list[str], *, asked: bool = True) -> Stage:
    """Reads configs/NAME.py; UserError when it is missing or does not accept the argument or one of
    the flags. One that is not `asked` for, an ancestor, keeps its recipe."""
    config = stage_file.load(f"configs/{name}.py:{argument}")
    if config.stage != name:
        raise errors.UserError(
            f"configs/{name}.py says stage={config.stage!r}, whose runs it would take for its own; "
            f"set stage={name!r} in it"
        )
    given, spared = flags, frozenset[str]()
    if not asked:
        flags = overrides.for_ancestor(flags)
    overridden, strange = overrides.apply(config, flags)
    if given != flags:
        spared = overrides.apply(stage_file.load(f"configs/{name}.py:{argument}"), given)[0]
        spared -= overridden
    if strange:
        raise errors.UserError(
            f"got {strange[0]!r}; wanted --config.KEY=VALUE or an option{hints.hint(strange[0])}"
        )
    for key in overrides.OWN_KEYS:
        if key in overridden:
            raise errors.UserError(
                f"--config.{key} would give every stage the same {key}; set it in configs/, "
                "or move all runs with --runs_dir=DIR"
            )
    plain = tree.plain(config.to_dict())
    values.check_values(plain)
    together.check(plain, overridden)
    init_from = "" if config.init_from == "scratch" else config.init_from
    parent, step = layout.parse_spec(init_from)
    # An imported base, --size=runs/gpt2, stays where it is.
    base = argument.partition(",")[0].rstrip("/")
    workdir, parent = (p if p == base else _placed(p, runs_dir) for p in (config.workdir, parent))
    return Stage(
        name, workdir, parent, step, plain, overridden, tuple(flags), tuple(sorted(spared))
    )


def find(workdir: str, load: Callable[[str], Stage]) -> Stage | str:
    """The stage that writes this run; why the file of the directory's name is not the one, "" where
    there is none."""

    def stage_of(file: str) -> Stage:
        return load(os.path.basename(file).removesuffix(".py"))

    found = stage_file.writer(workdir, shipped.HERE, lambda file: stage_of(file).workdir)
    return stage_of(found.file) if found.is_sure else found.why


def _placed(path: str, runs_dir: str) -> str:
    """A path under runs/, moved to the directory of --runs_dir."""
    path = path.rstrip("/").removeprefix("./")
    inside = path.removeprefix("runs/")
    return path if inside == path else f"{runs_dir.rstrip('/')}/{inside}"
