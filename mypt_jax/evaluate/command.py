"""Scores a run on any dataset or text: loss, perplexity, bits per byte.

mypt evaluate --run=runs/tiny/v8 --data data/demo/domain README.md
mypt evaluate --run=runs/tiny/v8@best --data data/mine --windows=200 --json
mypt evaluate --run=runs/tiny/v8 --data data/demo/domain data/demo/general --tasks

--tasks asks instead: which of four passages of a document continues it (choice), and which of four
strings stood 200 tokens before (recall). Chance is 25 %.
"""

import json
import math
from collections.abc import Mapping

from data_pipeline import arguments, errors
from mypt_jax.runs import evaluations
from mypt_jax.storage import fetch


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.evaluate")
    parser.add_argument("--run", required=True, help="PATH, PATH@STEP or PATH@best")
    parser.add_argument("--data", required=True, nargs="+", help="token datasets or text files")
    parser.add_argument("--windows", type=int, default=0, help="per source, 0 = all")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--tasks", action="store_true", help="share of right answers, not losses")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    if args.windows < 0 or args.batch_size < 1:
        raise errors.UserError(
            f"--windows {args.windows} and --batch_size {args.batch_size}: 0 or more and at "
            "least 1 are wanted"
        )
    fetch.check_run(args.run)
    from mypt_jax.evaluate import losses, scorer  # here: --help and a slip wait for no jax

    run = scorer.Scorer(args.run, batch_size=args.batch_size)
    if args.tasks:
        answers = {data: run.score_tasks(data, most=args.windows or 200) for data in args.data}
        print("\n".join(_answers(run, answers, as_json=args.json)))
        return 0
    scores = {}
    for data in args.data:
        for name, score in run.score_data(data, windows=args.windows).items():
            if name in scores:  # of another dataset, or this one again
                name = f"{data}#{name}"
            scores[name] = score
    found = {}
    for key, source in scores.items():
        row = {name.rpartition("/")[2]: v for name, v in losses.figures(key, [source]).items()}
        row = {name: _finite(v) for name, v in row.items()}
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


def _answers(run, answers: Mapping, *, as_json: bool) -> list[str]:
    """Lines on the tasks of several datasets, {dataset: {source: {task: Source}}}."""
    rows = [
        (f"{data}#{name}", task, *evaluations.mean_and_stderr(one.sums["right"], one.tokens_D), one)
        for data, of_data in answers.items()
        for name, of_source in of_data.items()
        for task, one in of_source.items()
    ]
    if not rows:
        raise errors.UserError("no document of these val splits is long enough for a question")
    if as_json:
        found = [
            {"data": d, "task": t, "right": m, "stderr": _finite(e), "questions": one.tokens}
            for d, t, m, e, one in rows
        ]
        return [json.dumps({"run": run.path, "step": run.step, "tasks": found}, indent=1)]
    return [
        f"{run.path} at step {run.step}",
        "| data | task | right | std. error | questions |",
        "|---|---|---|---|---|",
        *(
            f"| {d} | {t} | {m:.1%} | {'-' if _finite(e) is None else f'{e:.1%}'} | {one.tokens} |"
            for d, t, m, e, one in rows
        ),
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
