"""Merges runs that share an ancestor: the weighted sum of their parameters becomes a run.

    mypt merge runs/tiny/v5 runs/tiny/v7 runs/tiny/v8 --out=runs/tiny/merged
    mypt merge runs/adapted:1 runs/instruct:1 runs/base:-1 --out=runs/adapted_instruct
    mypt merge runs/tiny/v8 --line --toward=runs/tiny/base --limit=1% --out=runs/tiny/v8_1

RUN is PATH, PATH@STEP or PATH@best; RUN:WEIGHT gives it a weight (weights sum to 1 and may be
negative), else all have the same. The merged run is evaluated as its parents were, and is a run
like any other: exported, reported, the parent of a stage.

--line evaluates models between --toward and the sum, and --out keeps them for the report's plane;
with --limit the run is the one of lowest domain loss that forgets no more than the limit of the
base's general loss, without it the sum.
"""

import argparse

from data_pipeline import arguments, errors
from mypt_jax.merge import weights
from mypt_jax.storage import fetch

_MOST_POINTS = 1001  # each is a model that is evaluated


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.merge")
    parser.add_argument("runs", nargs="+", metavar="RUN[:WEIGHT]")
    parser.add_argument("--out", required=True, help="the merged run's directory, a new one")
    parser.add_argument("--line", action="store_true", help="evaluate the line toward a run")
    parser.add_argument("--toward", default="", metavar="RUN", help="where the line leads")
    parser.add_argument("--points", type=int, help="of the line, its ends included; default: 11")
    parser.add_argument("--limit", default="", help="of forgetting, such as 1%% or 0.01")
    args = parser.parse_args(argv)
    if args.line != bool(args.toward):
        raise errors.UserError("--line and --toward=RUN go together: give both or neither")
    if args.limit and not args.line:
        raise errors.UserError(
            "--limit chooses a point of a line: give --line --toward=RUN with it"
        )
    if args.points is not None and not args.line:
        raise errors.UserError("--points are of a line: give --line --toward=RUN with it")
    args.points = 11 if args.points is None else args.points
    if not 2 <= args.points <= _MOST_POINTS:
        raise errors.UserError(
            f"--points is {args.points}, wanted 2 (a line has two ends) to {_MOST_POINTS:,}"
        )
    args.limit = (
        arguments.share(args.limit, "limit", "the base's general loss") if args.limit else None
    )
    return args


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    wanted = weights.parse(args.runs)
    for spec in (*(run for run, _ in wanted), *([args.toward] if args.line else [])):
        fetch.check_run(spec)
    # Here: --help and a slip wait for no jax.
    from mypt_jax.merge import evaluation, merged_run, parents
    from mypt_jax.merge import line as lines
    from mypt_jax.train import finish

    merged_run.check_out(args.out)
    opened = parents.open_all([*wanted, (args.toward, 0.0)] if args.line else wanted)
    parents.shared_ancestors(opened)
    evaluator = evaluation.open_evaluator(opened)
    line = chosen = None
    if args.line:
        *opened, toward = opened
        line = lines.evaluate(opened, toward, evaluator, points=args.points)
        chosen = lines.choose(line, limit=args.limit) if args.limit else None
        print("\n".join(lines.table(line, chosen)))
    done = merged_run.write(args.out, chosen.parents if chosen else opened, evaluator, line=line)
    if line is not None:
        print(lines.reported(line, chosen or line.points[-1]))
    elif said := finish.reported_line(done["report"]):
        print(said)
    print(f"wrote {args.out} ({done['params_sha256'][:12]})")
    return 0
