"""Trains a chain of stages, each one from its parent: configs/STAGE.py by configs/STAGE.py.

    mypt chain --size=tiny                       # base, v3, v5, v7, v8
    mypt chain --size=750m,batch=96 --stages=v8  # v8 and the ancestors it lacks
    mypt chain --size=tiny --stages=mine         # configs/mine.py, by name

--config.KEY=VALUE goes to all of these stages where it says which data, model or machine; how a
stage learns (rates, lengths, replay) goes to those that --stages names, with --all to their
ancestors, too.

A finished stage is skipped and an interrupted one resumes, so on a preemptible machine the same
command is run again until it exits 0. Each stage is a process of its own, the same as typing
`python -m mypt_jax.main --config=configs/STAGE.py:SIZE`; its exit code is passed on.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_pipeline import arguments, errors
from mypt_jax import console, shipped
from mypt_jax.runs import kinds, layout, lineage
from mypt_jax.schema import (
    changes,
    duration,
    hints,
    keys,
    overrides,
    parents,
    recorded,
    stage_file,
    together,
    tree,
    values,
)
from mypt_jax.storage import bucket, fetch

STAGES = ("base", "v3", "v5", "v7", "v8")
# What a stage's exit code asks of the user; the codes are mypt_jax.main's.
MEANING = {
    3: "forgetting passed guard.max_forgetting; see the run's metrics, lower peak_lr or add replay",
    4: "the loss diverged; lower optim.peak_lr",
    5: "no valid checkpoint or dataset",
    6: "the watchdog saw no step; see the stacks above",
    7: "another host was lost; run the same command again to resume",
    8: "storage failed",
    75: "preempted; run the same command again to resume",
    # A process that a signal ended says nothing itself.
    128 + signal.SIGBUS: "a file that it was reading was cut short, or its disk failed; look with "
    "`mypt inspect DATASET --verify`, and run the same command again to resume",
    128 + signal.SIGKILL: "killed, as the system does where memory runs out; run the same command "
    "again to resume",
    128 + signal.SIGSEGV: "the program itself crashed; run the same command again to resume",
}
_PLANNED = (3, 75)  # ends that something was asked for


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


def _exists(path: str, *names: str) -> bool:
    """Whether a small file of a run is there, on the disk or in a bucket."""
    if "://" not in path:
        return Path(path, *names).exists()
    return bucket.Bucket(path).read("/".join(names)) is not None


def _read(path: str, name: str, wanted: dict) -> dict:
    """A JSON file of a run, on the disk or in a bucket. Raises UserError."""
    where, what = layout.join(path, name), f"run {path}"
    if "://" not in path:
        return lineage.read_json(where, what=what, wanted=wanted)
    data = bucket.Bucket(path).read(name) or b"{}"
    return lineage.parse_json(data, where, what=what, wanted=wanted)


def finished(path: str) -> bool:
    return _exists(path, layout.FINISHED)


def is_done(stage: Stage, *, as_it_is: bool) -> bool:
    """Whether a stage is finished, and no other length is asked for, on which main decides.

    Raises UserError where it was trained with other values, unless it is taken `as_it_is`.
    """
    if as_it_is or not finished(stage.workdir):
        return finished(stage.workdir)
    end = _read(stage.workdir, layout.FINISHED, kinds.FINISHED)
    before = tree.completed(_read(stage.workdir, layout.CONFIG, recorded.KIND))
    config = as_recorded(stage, before)
    epochs = config["domain_epochs"]
    if changes.asks_for_more(end, config) or (epochs and epochs != before["domain_epochs"]):
        return False
    changes.check_finished(before, config, step=end["step"])
    return True


def as_recorded(stage: Stage, before: dict) -> dict:
    """The stage's config as its run would record it, for which its data need not be here."""
    start = stage.parent_spec or "scratch"
    config = {**tree.plain(stage.config), "workdir": stage.workdir, "init_from": start}
    config = fetch.local_names(config)
    # What follows from the datasets is as it was, where what it follows from is.
    if config["domain_epochs"] and config["domain_epochs"] == before["domain_epochs"]:
        duration.lengthen(config, before["num_steps"], stage.overridden)
    if config["data"]["mixture"] and config["data"]["mixture"] == before["data"]["mixture"]:
        config["data"]["replay_ratio"] = before["data"]["replay_ratio"]
    duration.resolve_warmup(config)
    return config


def _placed(path: str, runs_dir: str) -> str:
    """A path under runs/, moved to the directory of --runs_dir."""
    path = path.rstrip("/").removeprefix("./")
    inside = path.removeprefix("runs/")
    return path if inside == path else f"{runs_dir.rstrip('/')}/{inside}"


def load_stage(
    name: str, argument: str, runs_dir: str, flags: list[str], *, asked: bool = True
) -> Stage:
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


def _is_recipe(key: str) -> bool:
    row = keys.BY_NAME.get(key)
    return row is not None and row.is_recipe


def find_stage(workdir: str, load: Callable[[str], Stage]) -> Stage | str:
    """The stage that writes this run; why the file of the directory's name is not the one, "" where
    there is none."""

    def stage_of(file: str) -> Stage:
        return load(os.path.basename(file).removesuffix(".py"))

    found = stage_file.writer(workdir, shipped.HERE, lambda file: stage_of(file).workdir)
    return stage_of(found.file) if found.is_sure else found.why


def has_parent(stage: Stage) -> bool:
    """Whether what a stage starts from is there: a finished run, or a named step of one that never
    finishes (a guard stopped it)."""
    if finished(stage.parent) or not stage.parent_step.isdecimal():
        return finished(stage.parent)
    number = f"{int(stage.parent_step):08d}"
    return _exists(stage.parent, "checkpoints", number, "manifest.json")


def plan(names: list[str], load: Callable[[str], Stage]) -> list[Stage]:
    """The named stages with their unfinished ancestors, parents first."""
    ordered: dict[str, Stage] = {}

    def add(stage: Stage, children: tuple[str, ...]) -> None:
        if stage.workdir in children:
            raise errors.UserError(
                f"stages start from each other: {' <- '.join((*children, stage.workdir))}"
            )
        if stage.parent and not finished(stage.workdir) and not has_parent(stage):
            parent = find_stage(stage.parent, load)
            if isinstance(parent, str):
                raise errors.UserError(
                    f"stage {stage.name} starts from {stage.parent}, which is not a finished run "
                    "and which no file in configs/ trains"
                    + (f": {parent}" if parent else "; import it, or correct init_from")
                )
            add(parent, (*children, stage.workdir))
        ordered.setdefault(stage.workdir, stage)

    for name in names:
        add(load(name), ())
    return list(ordered.values())


def check_finished_ancestors(stages: list[Stage], load: Callable[[str], Stage]) -> None:
    """Raises UserError where an override of --all would reach an ancestor that is finished with
    another value, of which the stages would start."""
    asked = {stage.workdir for stage in stages}
    for stage in stages:
        while stage.parent and stage.parent not in asked and finished(stage.parent):
            asked.add(stage.parent)
            found = find_stage(stage.parent, load)
            if isinstance(found, str):
                break  # an import, or a run of no stage file
            stage = found
            before = tree.completed(_read(stage.workdir, layout.CONFIG, recorded.KIND))
            now = as_recorded(stage, before)
            for key in sorted(filter(_is_recipe, stage.overridden)):
                had, wanted = tree.get(before, key), tree.get(now, key)
                if had != wanted:
                    raise errors.UserError(
                        f"--all gives {key} {wanted} to {stage.name}, but {stage.workdir} is "
                        f"finished with {had}: leave --all out, or train it anew with --runs_dir"
                    )


def command(stage: Stage, argument: str, moved: bool) -> list[str]:
    line = [sys.executable, "-m", "mypt_jax.main", f"--config=configs/{stage.name}.py:{argument}"]
    if moved:
        line.append(f"--config.workdir={stage.workdir}")
        if stage.parent:
            line.append(f"--config.init_from={stage.parent_spec}")
    return [*line, *stage.flags]


def run_stage(line: list[str]) -> int:
    """Runs one stage to its end and returns its exit code; signals go to it, once each."""
    # A process group of its own: Ctrl-C would otherwise reach the stage from the terminal and
    # again from here, and a second one means "at once".
    child = subprocess.Popen(line, process_group=0)

    def forward(signum, frame):
        child.send_signal(signum)

    kept = {s: signal.signal(s, forward) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        code = child.wait()
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)
    return code if code >= 0 else 128 - code


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = arguments.Parser(__doc__)
    parser.add_argument(
        "--size", default="750m", help="tiny, 150m, 350m, 750m, or what follows a stage's colon"
    )
    parser.add_argument(
        "--stages",
        default=",".join(STAGES),
        help="names in configs/, by commas; default: the guide's",
    )
    parser.add_argument(
        "--runs_dir",
        default="runs",
        type=os.path.expanduser,
        help="in place of runs/: a path or gs://...",
    )
    parser.add_argument(
        "--all", action="store_true", help="overrides of how a stage learns to ancestors, too"
    )
    parser.add_argument("--dry_run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--times", default="", help="file for one line with the seconds per stage")
    args, flags = parser.parse_known_args(argv)
    if not args.runs_dir:
        raise errors.UserError("--runs_dir is empty, wanted a directory or gs://BUCKET/...")
    if not args.size:
        raise errors.UserError("--size is empty, wanted tiny, 150m, 350m, 750m or a run")
    if not args.stages.strip(","):
        raise errors.UserError(
            "--stages is empty, wanted names such as v3,v5; leave it out for all"
        )
    bucket.local_path(args.runs_dir)
    if args.times and not Path(args.times).absolute().parent.is_dir():
        raise errors.UserError(f"--times={args.times}: there is no such directory")
    return args, overrides.expand(flags)


def _check_parent(stage: Stage, planned: Mapping[str, Stage]) -> None:
    """Raises UserError where a stage cannot start from its parent, which is there or `planned`, by
    workdir."""
    config = {**stage.config, "workdir": stage.workdir}
    if stage.parent in planned:
        parents.check_planned(planned[stage.parent].config, config, path=stage.parent)
    elif finished(stage.parent) and "://" in stage.parent:
        before = tree.completed(_read(stage.parent, layout.CONFIG, recorded.KIND))
        parents.check_architecture(before, config, path=stage.parent)
    elif finished(stage.parent):
        parents.check(config, stage.parent_spec)


def main(argv: list[str] | None = None) -> int:
    args, flags = parse_arguments(argv)
    names = [name for name in args.stages.split(",") if name]
    seconds = []

    def load(name: str) -> Stage:
        asked = args.all or name in names
        return load_stage(name, args.size, args.runs_dir, flags, asked=asked)

    stages = plan(names, load)
    given = args.size.partition(",")[0].rstrip("/")  # where it is a run, it is taken as it is
    if args.all:
        check_finished_ancestors(stages, load)
    # All of them before any is trained.
    done = {s.name for s in stages if is_done(s, as_it_is=s.workdir == given)}
    for stage in stages:
        if stage.name not in done and stage.parent:
            _check_parent(stage, {one.workdir: one for one in stages if one.name not in done})
    for stage in stages:
        if stage.name in done:
            print(f"{stage.name}: finished in {stage.workdir}, skipped", flush=True)
            continue
        if stage.spared:
            print(
                f"{stage.name}: an ancestor, which --stages does not name: its own "
                f"{', '.join(stage.spared)} (--all gives it yours)",
                flush=True,
            )
        line = command(stage, args.size, args.runs_dir != "runs")
        print(f"{stage.name}: {shlex.join(line)}", flush=True)
        if args.dry_run:
            continue
        start = time.monotonic()
        code = run_stage(line)
        seconds.append(f"{stage.name} {time.monotonic() - start:.0f} s")
        if code:
            hint = MEANING.get(code, "see its message above")
            word = "stopped" if code in _PLANNED else "error"
            print(
                f"{word}: stage {stage.name} ended with exit code {code}: {hint}", file=sys.stderr
            )
            return code
    if args.times and not args.dry_run:
        Path(args.times).write_text(", ".join(seconds) or "all finished before")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
