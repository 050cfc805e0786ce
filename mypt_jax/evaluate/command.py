"""Scores a run on any dataset or text: loss, perplexity, bits per byte.

mypt evaluate --run=runs/tiny/v8 --data data/demo/domain README.md
mypt evaluate --run=runs/tiny/v8@best --data data/mine --windows=200 --json
mypt evaluate --run=runs/tiny/v8 --data data/demo/domain data/demo/general --tasks

mypt evaluate --run=runs/tiny/v8 --data data/demo/domain --recite --save

--tasks asks instead: which of four passages of a document continues it (choice), and which of four
strings stood 200 tokens before (recall). Chance is 25 %. --recite asks what the
model says by heart: documents of train and of val are continued greedily for 50 tokens, by the run
and by the base of its lineage; exact is the share that is continued by its own text. With --save it
stands in the run's report and model card.
"""

import json
import math
import os
import sys
from collections.abc import Mapping

from data_pipeline import arguments, errors
from mypt_jax.runs import evaluations
from mypt_jax.storage import fetch

_ASKED = 200  # questions, or documents, per source


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.evaluate")
    parser.add_argument("--run", required=True, help="PATH, PATH@STEP or PATH@best")
    parser.add_argument("--data", required=True, nargs="+", help="token datasets or text files")
    parser.add_argument(
        "--windows",
        type=int,
        help=f"per source at most; 0: all, the default; of --tasks questions and of --recite "
        f"documents, default {_ASKED}",
    )
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--tasks", action="store_true", help="share of right answers, not losses")
    parser.add_argument("--recite", action="store_true", help="share of texts known by heart")
    parser.add_argument(
        "--save", action="store_true", help="keep what --recite finds in the run: report and card"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    windows = args.windows or 0
    if windows < 0 or args.batch_size < 1:
        raise errors.UserError(
            f"--windows {windows} and --batch_size {args.batch_size}: 0 or more and at "
            "least 1 are wanted"
        )
    most = _ASKED if args.windows is None else windows or sys.maxsize
    if args.tasks and args.recite:
        raise errors.UserError("--tasks and --recite are two questions: ask one of them")
    if args.save and not args.recite:
        raise errors.UserError("--save keeps what --recite finds: give both")
    fetch.check_run(args.run)
    if args.recite:
        lines, note = _recited(args, most)
        print("\n".join(lines))
        if note:
            print(f"warning: {note}", file=sys.stderr)
        return 0
    from mypt_jax.evaluate import losses, scorer  # here: --help and a slip wait for no jax

    run = scorer.Scorer(args.run, batch_size=args.batch_size)
    if args.tasks:
        answers = {data: run.score_tasks(data, most=most) for data in args.data}
        print("\n".join(_answers(run, answers, as_json=args.json)))
        for note in run.notes:
            print(note, file=sys.stderr)
        return 0
    scores = {}
    for data in args.data:
        for name, score in run.score_data(data, windows=windows).items():
            if name in scores:  # of another dataset, or this one again
                name = f"{data}#{name}"
            scores[name] = score
    for note in run.notes:
        print(note, file=sys.stderr)
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
        cells = [_cell(row[name], form) for name, form in _COLUMNS.items()]
        print(f"| {key} | {' | '.join(cells)} | {row['tokens']:,} |")
    return 0


def _recited(args, most: int) -> tuple[list[str], str]:
    """(lines on what a run, and its base, know of datasets by heart, why the base was not asked).
    Raises UserError."""
    from mypt_jax.evaluate import recite
    from mypt_jax.runs import recited

    for data in args.data:
        if not os.path.isdir(data):
            raise errors.UserError(f"{data}: what is known is asked of a token dataset")
    run = fetch.fetch_run(args.run)
    asked = recite.ask(run, args.data, most=most, batch_size=args.batch_size)
    kept = {"run_id": asked.run_id, "step": asked.step, "tokens": asked.tokens, "rows": asked.rows}
    if args.save:
        recited.write(asked.path, **kept)
    if args.json:
        shares = [{**row, "share": row["exact"] / row["documents"]} for row in asked.rows]
        return [json.dumps({"run": asked.path, **kept, "rows": shares}, indent=1)], asked.note
    table = [
        f"{asked.path} at step {asked.step}: the first {asked.tokens} tokens of a document, and "
        "what the model says next",
        "| data | split | model | exact | matched tokens | documents |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['data']} | {row['split']} | {row['who']} | "
            f"{row['exact'] / row['documents']:.1%} | {row['matched']:.1f} of {asked.tokens} | "
            f"{row['documents']} |"
            for row in asked.rows
        ),
    ]
    for row in asked.rows:
        if row["who"] == "run" and row["split"] == "train":
            table += [f"{row['data']}, nearest: {text!r}" for text in row["examples"]]
    return table, asked.note


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


_COLUMNS = {"loss": ".4f", "stderr": ".4f", "perplexity": ".2f", "bits_per_byte": ".4f"}


def _cell(value: float | None, form: str) -> str:
    """A dash for what is not known, and for what no float holds."""
    return "-" if value is None else f"{value:{form}}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
