"""A token dataset of what a run's model writes unasked: replay for a base without general text.

    mypt sample --run=runs/tiny/base --tokens=200000 --out_dir=data/own
    mypt main --config=configs/v8.py:tiny --config.data.general=data/own \\
        --config.objective.replay=kl --config.workdir=runs/tiny/v8_own

Documents begin as those of the run did (with BOS, else after EOT) and end with EOT, or with the
model's context. A model with a chat template asks and answers in its format: a question and an
answer are a document, and evaluations count the answers. Temperature 1; nothing is cut off the
distribution.
Killed, the same command goes on at the block that it was at, and gives the same bytes.
"""

from pathlib import Path

from data_pipeline import arguments, atomic, errors
from data_pipeline.prepare import budget
from mypt_jax.storage import fetch


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.sample")
    parser.add_argument("--run", required=True, help="PATH, PATH@STEP or PATH@best")
    parser.add_argument("--tokens", type=int, required=True, help="of the dataset, both splits")
    parser.add_argument("--out_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--val_fraction", type=float, default=0.1, help="0: all is train")
    parser.add_argument("--tokens_per_shard", type=int, default=10_000_000)
    parser.add_argument(
        "--chat", choices=("auto", "no"), default="auto", help="no: as it writes unasked"
    )
    parser.add_argument("--block_rows", type=int, default=32, help="sampled at one time")
    args = parser.parse_args(argv)
    for name, value, low in (("tokens", args.tokens, 2), ("block_rows", args.block_rows, 1)):
        if value < low:
            raise errors.UserError(f"--{name} is {value}, wanted {low} or more")
    if not 0 <= args.seed < 2**32:
        raise errors.UserError(f"--seed is {args.seed}, wanted 0 or more and less than 2**32")
    settings = budget.Settings(
        seed=args.seed,
        val_fraction=args.val_fraction,
        tokens_per_shard=args.tokens_per_shard,
        total_tokens=args.tokens,
    )
    settings.check()
    atomic.check_free(args.out_dir)
    fetch.check_run(args.run)
    from mypt_jax.sample import dataset  # here: --help and a slip wait for no jax

    model = dataset.open_model(
        args.run, seed=args.seed, block_rows=args.block_rows, chat=args.chat == "auto"
    )
    if model.note:
        print(model.note, flush=True)

    def show(block: dataset.Block) -> None:
        rate = f"{block.sampled / block.secs:,.0f} tokens/s" if block.secs else "sampled before"
        print(
            f"block {block.number}: {block.tokens:,} of {args.tokens:,} tokens, {rate}", flush=True
        )

    splits = dataset.build(
        model,
        out_dir=args.out_dir,
        settings=settings,
        block_rows=args.block_rows,
        on_block=show,
    )
    told = ", ".join(f"{split} {tokens:,}" for split, tokens in splits.items())
    print(f"wrote {args.out_dir}: {told} tokens of {model.identity['run']}")
    return 0
