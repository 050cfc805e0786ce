"""lm-evaluation-harness on a run (requirements-eval.txt).

    python -m mypt_jax.interop.lm_eval --run=runs/tiny/v8 --tasks=lambada_openai --limit=50

The harness downloads the data of its own tasks; tasks over local files need no network.
"""

import json
import sys

from data_pipeline import arguments, errors
from mypt_jax.storage import fetch


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.interop.lm_eval")
    parser.add_argument("--run", required=True, help="PATH, PATH@STEP or PATH@best")
    parser.add_argument("--tasks", required=True, nargs="+", help="names of harness tasks")
    parser.add_argument("--include_path", help="a directory of own task files")
    parser.add_argument("--limit", type=int, help="at most so many examples per task")
    parser.add_argument("--batch_size", type=int, default=8)
    args = parser.parse_args(argv)
    fetch.check_run(args.run)
    from mypt_jax.interop import harness  # here: --help and a slip wait for no jax

    model = harness.RunLM(args.run, batch_size=args.batch_size)
    assert harness.simple_evaluate and harness.TaskManager  # RunLM has looked
    found = harness.simple_evaluate(
        model=model,
        tasks=args.tasks,
        limit=args.limit,
        task_manager=harness.TaskManager(include_path=args.include_path),
        bootstrap_iters=0,
    )
    print(json.dumps(found["results"], indent=1, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
