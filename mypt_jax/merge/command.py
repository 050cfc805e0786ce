"""Merges runs that share an ancestor: the weighted sum of their parameters becomes a run.

    mypt merge runs/tiny/v5 runs/tiny/v7 runs/tiny/v8 --out=runs/tiny/merged
    mypt merge runs/adapted:1 runs/instruct:1 runs/base:-1 --out=runs/adapted_instruct

RUN is PATH, PATH@STEP or PATH@best; RUN:WEIGHT gives it a weight (weights sum to 1 and may be
negative), else all have the same. The merged run is evaluated as its parents were, and is a run
like any other: exported, reported, the parent of a stage.
"""

from data_pipeline import arguments


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.merge")
    parser.add_argument("runs", nargs="+", metavar="RUN[:WEIGHT]")
    parser.add_argument("--out", required=True, help="the merged run's directory, a new one")
    args = parser.parse_args(argv)
    from mypt_jax.merge import evaluation, merged_run, parents, weights  # here: --help needs no jax
    from mypt_jax.train import finish

    merged_run.check_out(args.out)
    opened = parents.open_all(weights.parse(args.runs))
    parents.shared_ancestors(opened)
    evaluator = evaluation.open_evaluator(opened)
    done = merged_run.write(args.out, opened, evaluator)
    if said := finish.reported_line(done["report"]):
        print(said)
    print(f"wrote {args.out} ({done['params_sha256'][:12]})")
    return 0
