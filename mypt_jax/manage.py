"""Lists runs, removes and renames them, and frees what a finished run no longer needs.

    mypt runs                          # every run at and under runs/: state, losses, verdict, size
    mypt runs list runs/tiny
    mypt runs remove runs/tiny/v5      # not one that another run started from, unless --force
    mypt runs rename runs/tiny/adapt runs/tiny/adapt_1e-3
    mypt runs clean runs/tiny          # what would go; with --yes it goes

`clean` takes of finished runs the steps beside the result: those that were best before it.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import arguments, errors
from data_pipeline.errors import UserError
from mypt_jax import guide
from mypt_jax.report import cells, runs
from mypt_jax.report.run import Run
from mypt_jax.runs import layout, lease, lease_place
from mypt_jax.runs.comparison import Difference

_HEADER = ("run", "state", "from", "domain", "general", "change", "verdict", "MB")


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.what == "list":
        print("\n".join(_table(runs.read_runs(Path(args.directory)))))
        return 0
    if args.what == "clean":
        from mypt_jax.checkpoint import retention  # here: a list waits for no jax

        found = _spare(Path(args.directory))
        for run, step, size in found:
            print(f"{run}: step {step}, {size / 1e6:.1f} MB")
            if args.yes:
                with _owned(run):
                    retention.remove(run, step)
        total = sum(size for _, _, size in found) / 1e6
        print(f"{total:.1f} MB {'freed' if args.yes else 'would be freed: --yes frees them'}")
        return 0
    names = args.runs if args.what == "remove" else [args.run]
    for name in names:
        _check_unneeded(name, force=args.force)
    if args.what == "rename" and os.path.lexists(args.new):
        raise UserError(f"{args.new} is there already: name another directory")
    for name in names:
        with _owned(name):
            if args.what == "rename":
                os.makedirs(os.path.dirname(os.path.abspath(args.new)), exist_ok=True)
                os.rename(name, args.new)
            else:
                shutil.rmtree(name)
        print(f"{name}: {f'now {args.new}' if args.what == 'rename' else 'removed'}")
    return 0


def _parse(argv: list[str] | None):
    parser = arguments.Parser(__doc__, prog="mypt runs")
    parser.set_defaults(what="list", directory="runs", force=False)
    commands = parser.add_subparsers(dest="what", metavar="list | remove | rename | clean")
    for name in ("list", "clean"):
        one = commands.add_parser(
            name, text=__doc__, help=f"{name} the runs at and under a directory"
        )
        one.add_argument("directory", nargs="?", default="runs")
        if name == "clean":
            one.add_argument("--yes", action="store_true", help="free it, not only say so")
    one = commands.add_parser("remove", text=__doc__, help="runs and all that is in them")
    one.add_argument("runs", nargs="+")
    one.add_argument("--force", action="store_true", help="also what others started from")
    one = commands.add_parser("rename", text=__doc__, help="a run's directory")
    one.add_argument("run")
    one.add_argument("new")
    one.add_argument("--force", action="store_true", help="also what others started from")
    args = parser.parse_args(argv)
    args.what = args.what or "list"
    return args


def _table(found: list[Run]) -> list[str]:
    rows = [_HEADER, *(_row(run) for run in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(run: Run) -> tuple[str, ...]:
    change = run.against_baseline("general") if run.is_domain_stage else None
    is_measured = isinstance(change, Difference)
    return (
        str(run.path),
        _state(run),
        run.parent.name if run.parent else str(run.config["init_from"]),
        *(cells.loss_text(run.final.get(role)) for role in ("domain", "general")),
        cells.percent_text(change),
        guide.verdict(change.nats / change.start) if is_measured else cells.NONE,
        f"{_size(str(run.path)) / 1e6:,.1f}",
    )


def _state(run: Run) -> str:
    """finished, or where it stands, who is at it and how long it will take."""
    if run.finished:
        return f"finished at {run.finished['step']:,}"
    done = max([run.step, *layout.steps(str(run.path))])
    stands = f"{done:,} of {run.num_steps:,}"
    if not lease.holder(lease_place.InDirectory(str(run.path))):
        return f"stopped at {stands}"
    secs = run.value("step_secs")
    minutes = "" if secs is None else f", {secs * (run.num_steps - done) / 60:.0f} min left"
    return f"at work, {stands}{minutes}"


def _size(path: str) -> int:
    """Bytes of all files at and under a path."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


def _check_unneeded(path: str, *, force: bool) -> None:
    """Raises UserError for what is no run, is at work, or is what another run started from."""
    runs.read_run(Path(path))
    if who := lease.holder(lease_place.InDirectory(path)):
        raise UserError(f"{path} is at work ({who}): stop it first")
    if force:
        return
    around = os.path.dirname(os.path.abspath(path))
    for other in runs.read_runs(Path(around)):
        needed = [one["path"] for one in (*other.ancestors, *other.merged_from)]
        if os.path.realpath(path) in map(os.path.realpath, needed):
            raise UserError(
                f"{other.path} started from {path}, and finds it by that name: --force does it "
                "nevertheless"
            )


def _spare(root: Path) -> list[tuple[str, int, int]]:
    """(run, step, bytes) of the steps of finished runs that are not their result."""
    found = []
    for run in runs.read_runs(root):
        path = str(run.path)
        if not run.finished or lease.holder(lease_place.InDirectory(path)):
            continue
        for step in layout.steps(path):
            if step != run.finished["step"]:
                found.append((path, step, _size(layout.step_dir(path, step))))
    return found


@contextlib.contextmanager
def _owned(path: str) -> Iterator[None]:
    """This process owns the run meanwhile. Raises LostPeer where another does."""
    owner = lease.Lease(lease_place.InDirectory(path))
    owner.acquire()
    try:
        yield
    finally:
        owner.release()


if __name__ == "__main__":
    sys.exit(errors.run(main))
