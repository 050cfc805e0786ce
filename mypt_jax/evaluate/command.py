"""Scores a run on any dataset or text: loss, perplexity, bits per byte.

mypt evaluate --run=runs/tiny/v8 --data data/demo/domain README.md
mypt evaluate --run=runs/tiny/v8@best --data data/mine --windows=200 --json
"""

import json
import math

from data_pipeline import arguments, errors


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.evaluate")
    parser.add_argument("--run", required=True, help="PATH, PATH@STEP or PATH@best")
    parser.add_argument("--data", required=True, nargs="+", help="token datasets or text files")
    parser.add_argument("--windows", type=int, default=0, help="per source, 0 = all")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    if args.windows < 0 or args.batch_size < 1:
        raise errors.UserError(
            f"--windows {args.windows} and --batch_size {args.batch_size}: 0 or more and at "
            "least 1 are wanted"
        )
    from mypt_jax.evaluate import losses, scorer  # here, so that --help waits for no jax

    run = scorer.Scorer(args.run, batch_size=args.batch_size)
    scores = {}
    for data in args.data:
        for name, score in run.score_data(data, windows=args.windows).items():
            if name in scores:  # of another dataset, or this one again
                name = f"{data}#{name}"
            scores[name] = score
    found = {}
    for key, source in scores.items():
        row = {name.rpartition("/")[2]: v for name, v in losses.figures(key, [source]).items()}
        row = {name: v if math.isfinite(v) else None for name, v in row.items()}
        found[key] = {**row, "tokens": source.tokens}
    if args.json:
        print(json.dumps({"run": run.path, "step": run.step, "scores": found}, indent=1))
        return 0
    print(f"{run.path} at step {run.step}")
    print("| data | loss | std. error | perplexity | bits per byte | tokens |")
    print("|---|---|---|---|---|---|")
    for key, row in found.items():
        stderr = "-" if row["stderr"] is None else f"{row['stderr']:.4f}"
        print(
            f"| {key} | {row['loss']:.4f} | {stderr} | {row['perplexity']:.2f} | "
            f"{row['bits_per_byte']:.4f} | {row['tokens']:,} |"
        )
    return 0
