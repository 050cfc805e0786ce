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
import sys
import time
from collections.abc import Callable
from pathlib import Path

from data_pipeline import arguments, errors
from mypt_jax.chain import process, stages, standing
from mypt_jax.schema import overrides
from mypt_jax.storage import bucket

STAGES = ("base", "v3", "v5", "v7", "v8")


def main(argv: list[str] | None = None) -> int:
    args, flags = parse_arguments(argv)
    names = [name for name in args.stages.split(",") if name]
    seconds = []

    def load(name: str) -> stages.Stage:
        asked = args.all or name in names
        return stages.load(name, args.size, args.runs_dir, flags, asked=asked)

    chain = plan(names, load)
    given = args.size.partition(",")[0].rstrip("/")  # where it is a run, it is taken as it is
    if args.all:
        standing.check_finished_ancestors(chain, load)
    # All of them before any is trained.
    done = {s.name for s in chain if standing.is_done(s, as_it_is=s.workdir == given)}
    planned = {stage.workdir: stage for stage in chain if stage.name not in done}
    for stage in planned.values():
        if stage.parent:
            standing.check_parent(stage, planned)
    for stage in chain:
        if stage.name in done:
            print(f"{stage.name}: finished in {stage.workdir}, skipped", flush=True)
            continue
        if stage.spared:
            print(
                f"{stage.name}: an ancestor, which --stages does not name: its own "
                f"{', '.join(stage.spared)} (--all gives it yours)",
                flush=True,
            )
        line = process.line_of(stage, args.size, args.runs_dir != "runs")
        print(f"{stage.name}: {shlex.join(line)}", flush=True)
        if args.dry_run:
            continue
        start = time.monotonic()
        code = process.run(line)
        seconds.append(f"{stage.name} {time.monotonic() - start:.0f} s")
        if code:
            hint = process.MEANING.get(code, "see its message above")
            word = "stopped" if code in process.PLANNED else "error"
            print(
                f"{word}: stage {stage.name} ended with exit code {code}: {hint}", file=sys.stderr
            )
            return code
    if args.times and not args.dry_run:
        Path(args.times).write_text(", ".join(seconds) or "all finished before")
    return 0


def plan(names: list[str], load: Callable[[str], stages.Stage]) -> list[stages.Stage]:
    """The named stages with their unfinished ancestors, parents first."""
    ordered: dict[str, stages.Stage] = {}

    def add(stage: stages.Stage, children: tuple[str, ...]) -> None:
        if stage.workdir in children:
            raise errors.UserError(
                f"stages start from each other: {' <- '.join((*children, stage.workdir))}"
            )
        if stage.parent and not standing.finished(stage.workdir) and not standing.has_parent(stage):
            parent = stages.find(stage.parent, load)
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


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.chain")
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
