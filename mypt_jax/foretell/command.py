"""Foretells the end of finished runs from what was known before it, and compares.

    mypt foretell runs/tiny

Of every run that started from another one: its final losses as they would have been foretold before
it began and after a quarter, a half and three quarters of its steps, beside what they came to; and
why nothing is foretold of the others. `mypt plan` and the progress of a run foretell by one law.
"""

import itertools
import os
from pathlib import Path

from data_pipeline import arguments
from data_pipeline.errors import UserError
from mypt_jax.runs import layout


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.foretell")
    parser.add_argument("directory", help="of runs")
    args = parser.parse_args(argv)
    paths, damaged = _runs(args.directory)
    if not paths and damaged:
        raise UserError(damaged[0])
    if not paths:
        raise UserError(f"{args.directory} has no finished run that started from another one")
    from mypt_jax.foretell import backtest  # here: --help and a slip wait for no scipy

    for line in itertools.chain(backtest.lines(paths), (f"left out: {one}" for one in damaged)):
        print(line, flush=True)
    return 0


def _runs(directory: str) -> tuple[list[str], list[str]]:
    """(finished runs that started from another one, why others cannot be told to be)."""
    if not os.path.isdir(directory):
        raise UserError(f"{directory} is no directory; give one of runs, such as runs/tiny")
    found, damaged = [], []
    for file in sorted(Path(directory).rglob(layout.FINISHED)):
        path = str(file.parent)
        try:
            if layout.finished(path) and layout.record(path)["ancestors"]:
                found.append(path)
        except UserError as error:
            damaged.append(str(error))
    return found, damaged
