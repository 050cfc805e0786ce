"""Lists and shows runs, removes and renames them, and frees what finished ones no longer need.

    mypt runs                          # every run at and under runs/: state, losses, verdict, size
    mypt runs runs/tiny                # those there; `mypt runs list ..` is the same
    mypt runs show runs/tiny/v5        # one: lineage, what it changed, learned, saw, and holds
    mypt runs remove runs/tiny/v5      # not one that another run near started from, unless --force
    mypt runs rename runs/tiny/adapt runs/tiny/adapt_1e-3
    mypt runs clean runs/tiny          # what would go; with --yes it goes

`clean` takes of finished runs the steps beside the result, those that were best before it and that
no other run started from; with --optimizer also the optimizer's state of the result, without which
a run is trained longer from its parameters alone.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import arguments
from data_pipeline.errors import UserError
from mypt_jax.manage import listing, show
from mypt_jax.report import runs
from mypt_jax.report.run import Run
from mypt_jax.runs import layout, lease, lease_place, lineage

_DEPTH = 3  # directories below the working directory, as that of out/client/adapted
_WHATS = ("list", "show", "remove", "rename", "clean")


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.what == "list":
        damaged: list[str] = []
        print("\n".join(listing.table(runs.read_runs(Path(args.directory), tell=damaged.append))))
        for line in damaged:
            print(f"left out: {line}")
        return 0
    if args.what == "show":
        for number, name in enumerate(args.runs):
            print("\n" * bool(number) + "\n".join(show.lines(os.path.normpath(name))))
        return 0
    if args.what == "clean":
        from mypt_jax.checkpoint import retention  # here: a list waits for no jax

        found = _spare(Path(args.directory), optimizer=args.optimizer)
        for run, step, part, size in found:
            print(f"{run}: step {step}{part and f', its {part}'}, {size / 1e6:.1f} MB")
            if args.yes:
                with _owned(run):
                    retention.strip(run) if part else retention.remove(run, step)
        total = sum(size for *_, size in found) / 1e6
        if not found:
            print(f"nothing to free in {args.directory}")
            return 0
        print(f"{total:.1f} MB {'freed' if args.yes else 'would be freed: --yes frees them'}")
        return 0
    names = args.runs if args.what == "remove" else [args.run]
    names = sorted(
        names, key=lambda name: -len(os.path.realpath(name))
    )  # first what lies in others
    # All are checked before the first goes.
    for name in names:
        _check_unneeded(name, leaving=names, force=args.force)
        _check_alone(name, leaving=names, moves=args.what == "rename" and args.force)
    if args.what == "rename":
        _check_place(args.run, args.new)
    for name in names:
        with _owned(name):
            if args.what == "remove":
                shutil.rmtree(name)
        if args.what == "rename":  # when it is given free: what owns it would go with it
            os.makedirs(os.path.dirname(os.path.abspath(args.new)), exist_ok=True)
            os.rename(name, args.new)
        print(f"{name}: {f'now {args.new}' if args.what == 'rename' else 'removed'}")
    return 0


def _parse(argv: list[str] | None):
    parser = arguments.Parser(__doc__, prog="mypt runs")
    parser.set_defaults(what="list", directory="runs", force=False)
    commands = parser.add_subparsers(dest="what", metavar=" | ".join(_WHATS))
    for name in ("list", "clean"):
        one = commands.add_parser(
            name, text=__doc__, help=f"{name} the runs at and under a directory"
        )
        one.add_argument("directory", nargs="?", default="runs")
        if name == "clean":
            one.add_argument("--yes", action="store_true", help="free it, not only say so")
            one.add_argument("--optimizer", action="store_true", help="also optimizer state")
    one = commands.add_parser("show", text=__doc__, help="all that a run says of itself")
    one.add_argument("runs", nargs="+")
    one = commands.add_parser("remove", text=__doc__, help="runs and all that is in them")
    one.add_argument("runs", nargs="+")
    one.add_argument("--force", action="store_true", help="also what others started from")
    one = commands.add_parser("rename", text=__doc__, help="a run's directory")
    one.add_argument("run")
    one.add_argument("new")
    one.add_argument("--force", action="store_true", help="also what others started from")
    given = sys.argv[1:] if argv is None else list(argv)
    # A path alone means the list; a mistyped command is not a directory.
    if given and given[0] not in _WHATS and ("/" in given[0] or os.path.isdir(given[0])):
        given = ["list", *given]
    args = parser.parse_args(given)
    args.what = args.what or "list"
    return args


def _check_place(run: str, new: str) -> None:
    """Raises UserError where a run cannot be moved to."""
    layout.check_name(new, what="the new name")
    if os.path.lexists(new):
        raise UserError(f"{new} is there already: name another directory")
    own = os.path.realpath(run)
    if os.path.commonpath([own, os.path.realpath(new)]) == own:
        raise UserError(f"{new} is inside of {run} itself: name a directory beside it")


def _check_unneeded(path: str, *, leaving: list[str], force: bool) -> None:
    """Raises UserError for what is no run, is at work, or is what another run started from that is
    not among the `leaving`."""
    try:
        runs.read_run(Path(path))
    except UserError as error:
        if Path(path) not in runs.directories(Path(path)):
            raise
        if not force:
            raise UserError(f"{error}; --force does it nevertheless") from error
    if os.path.islink(os.path.normpath(path)):
        raise UserError(f"{path} is a link to {os.path.realpath(path)}: name that")
    if who := lease.holder(lease_place.InDirectory(path)):
        raise UserError(f"{path} is at work ({who}): stop it first")
    if force:
        return
    # Real paths: a run may be reached by a link, and recorded by the other name.
    own, gone = os.path.realpath(path), {*map(os.path.realpath, leaving)}
    for other in _beside(path):
        needed = {place for place, _ in _needs(other)}
        if os.path.realpath(other.path) not in gone and own in needed:
            raise UserError(
                f"{other.path} started from {path}, and looks for it there: --force does it "
                "nevertheless"
            )


def _check_alone(path: str, *, leaving: list[str], moves: bool) -> None:
    """Raises UserError where other runs lie inside of a run, as below an imported base, and are not
    among the `leaving`; they move with it where it `moves`."""
    named = {*map(os.path.realpath, leaving)}
    for other in runs.directories(Path(path)) if not moves else ():
        if os.path.realpath(other) not in named:
            raise UserError(
                f"{other} lies inside of {path}, and would go with it: remove or rename that "
                "first, or name both"
            )


def _beside(path: str) -> list[Run]:
    """All runs below the directory that this one lies in, below runs/, and near."""
    around = os.path.dirname(os.path.abspath(path))
    return [*_read(around), *_below_runs(around), *_near()]


def _near() -> Iterator[Run]:
    """Runs not far below the working directory, as adaptations lie; those that are damaged, or
    were given to somebody else, are not asked."""
    for directory, names, files in os.walk("."):
        if layout.CONFIG in files and lineage.FILE in files:
            with contextlib.suppress(UserError):
                # Strangers' directories: a damaged one among them is not this command's to refuse.
                yield runs.read_run(Path(directory))
        is_deep = os.path.normpath(directory).count(os.sep) + 1 >= _DEPTH
        names[:] = [] if is_deep else [name for name in names if not name.startswith(".")]


def _below_runs(known: str) -> list[Run]:
    """All runs below runs/, unless those below the directory `known` have it among them."""
    default, known = os.path.abspath("runs"), os.path.abspath(known)
    if os.path.isdir(default) and os.path.commonpath([default, known]) != known:
        if any(runs.directories(Path(default))):
            return _read(default)
    return []


def _read(root: str) -> list[Run]:
    """All runs at and under root. Raises UserError where one is damaged: it may need another."""
    try:
        return runs.read_runs(Path(root))
    except UserError as error:
        if not any(runs.directories(Path(root))):
            raise
        raise UserError(
            f"{error}; so what it started from is not known: mend it, or `mypt runs remove --force`"
        ) from error


def _needs(run: Run) -> list[tuple[str, int]]:
    """(place, step) of the runs that one came from: ancestors, parts of its sum, teacher; by their
    names and, where they were moved since, by what they are."""
    held = [run.record[name] for name in ("teacher", "frozen") if name in run.record]
    above, linked = run, list(zip(run.merged, run.merged_from, strict=True))
    for recorded in reversed(run.ancestors):
        if above.parent is None:
            break
        above = above.parent
        linked.append((above, recorded))
    found = [(one["path"], one["step"]) for one in (*run.ancestors, *run.merged_from, *held)]
    found += [(str(one.path), of["step"]) for one, of in linked if one is not None]
    return [(os.path.realpath(path), step) for path, step in found]


def _spare(root: Path, *, optimizer: bool) -> list[tuple[str, int, str, int]]:
    """(run, step, "" or a part of it, bytes) of what is not a finished run's result, and no other
    one came from."""
    found, around = [], _read(str(root))
    others = (*around, *_below_runs(str(root)), *_near())
    needed = {one for run in others for one in _needs(run)}
    for run in around:
        path = str(run.path)
        if not run.finished or lease.holder(lease_place.InDirectory(path)):
            continue
        for step in layout.steps(path):
            directory = layout.step_dir(path, step)
            if step == run.finished["step"]:
                # The result itself stays in any case: it is what the run is.
                rest = listing.size(layout.join(directory, "rest"))
                if optimizer and rest:
                    found.append((path, step, "optimizer's state", rest))
            elif (os.path.realpath(path), step) not in needed:
                found.append((path, step, "", listing.size(directory)))
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
