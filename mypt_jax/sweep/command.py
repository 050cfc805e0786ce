"""Trains one stage with every combination of some values, each a run of its own.

    mypt sweep --config=configs/adapt.py:tiny --grid optim.peak_lr=3e-4,9e-4 --seeds=3
    mypt sweep --config=configs/v8.py:tiny --grid data.replay_ratio=.05,.2 --config.num_steps=20
    mypt sweep --config=configs/adapt.py --grid optim.peak_lr=3e-5,9e-5 --print > jobs.txt

Runs lie in --out_dir by their values, what each prints in a .log beside it, and what they came to
in trials.csv there. The same command again skips finished runs and resumes the others. A run that
its guard stopped is a result, too. --print writes a line for each run that is still to do, for a
scheduler, and trains nothing.
"""

import os
import shlex
import sys

from data_pipeline import arguments, errors
from data_pipeline.errors import UserError
from mypt_jax.chain import process, standing
from mypt_jax.runs import layout
from mypt_jax.schema import overrides, parents
from mypt_jax.sweep import outcome, processes, trials


class SweepFailed(errors.Stop):
    """Some runs ended without a result; `code` is the exit code of one of them."""

    def __init__(self, code: int, line: str):
        super().__init__(line)
        self.code = code


_RESULTS = {3: "stopped by its guard", 4: "diverged"}  # ends that say something of the values


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.sweep")
    parser.add_argument("--config", required=True, metavar="FILE[:SIZE]", help="a stage file")
    parser.add_argument(
        "--grid", nargs="+", default=[], metavar="KEY=V,V", help="values that are combined"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each combination")
    parser.add_argument("--out_dir", default="", help="default: the stage's workdir and -sweep")
    parser.add_argument("--parallel", type=int, default=1, help="at once, on a device each")
    parser.add_argument("--print", action="store_true", help="the commands of what is to do")
    args, flags = parser.parse_known_args(argv)
    if args.seeds < 1 or args.parallel < 1:
        raise UserError(f"--seeds={args.seeds} --parallel={args.parallel}: at least 1 is wanted")
    if not args.grid and args.seeds == 1:
        raise UserError("nothing to sweep: give --grid KEY=V,V or --seeds=N")
    flags = overrides.expand(flags)
    out_dir = (
        args.out_dir or f"{overrides.read([f'--config={args.config}']).stage['workdir']}-sweep"
    )
    if "://" in out_dir:
        raise UserError(f"--out_dir={out_dir}: a sweep lies on a disk; push its runs afterwards")
    planned = trials.plan(
        args.config, flags, trials.read_grid(args.grid), seeds=args.seeds, out_dir=out_dir
    )
    idle = {line: None for one in planned for line in one.without_effect()}
    print("".join(f"{line}\n" for line in idle), end="", file=sys.stderr)
    todo = [one for one in planned if not one.is_done()]
    for one in todo:
        if one.stage.parent and not standing.has_parent(one.stage):
            raise UserError(
                f"{one.stage.name} starts from {one.stage.parent}, which is not a finished run; "
                f"{layout.make_hint(one.stage.parent)}"
            )
        if one.stage.parent and "://" not in one.stage.parent:
            parents.check(one.stage.config, one.stage.config["init_from"])
    if args.print:
        print("".join(f"{shlex.join(one.command)}\n" for one in todo), end="")
        return 0
    os.makedirs(out_dir, exist_ok=True)
    path = layout.join(out_dir, outcome.FILE)
    print(f"{len(planned)} runs in {out_dir}, {len(planned) - len(todo)} finished before")
    ended: dict[str, str] = {}
    failed: list[int] = []
    for trial, code in processes.train(todo, parallel=args.parallel):
        if code:
            ended[trial.workdir] = _RESULTS.get(code, f"exit code {code}")
            failed += [] if code in _RESULTS else [code]
        print(f"{trial.workdir}: {ended.get(trial.workdir, 'finished')}", flush=True)
        outcome.write(path, planned, ended)  # after each, so that one can look
    outcome.write(path, planned, ended)
    print(f"wrote {path}")
    if not failed:
        return 0
    code = processes.PREEMPTED if processes.PREEMPTED in failed else failed[0]
    meaning = process.MEANING.get(code, "the end of its .log says why")
    raise SweepFailed(code, f"{len(failed)} runs did not finish; exit code {code}: {meaning}")
