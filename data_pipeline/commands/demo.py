"""Makes the demo's token datasets, data/demo/domain, general and elsewhere, without a network.

`elsewhere` is general text of another kind (news), evaluated where data.elsewhere names it.

mypt demo
mypt chain --size=tiny
"""

import time
from pathlib import Path

from data_pipeline import arguments, errors
from data_pipeline.prepare import budget, build, build_report, near_duplicates
from data_pipeline.prepare.contamination import checks
from data_pipeline.tokens import shards, tokenizer


def main(argv=None) -> int:
    """Writes the datasets that are not there yet."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--out_dir", type=Path, default=Path("data/demo"))
    parser.add_argument("--tokenizer", default="gpt2-4096")
    parser.add_argument("--val_fraction", type=float, default=0.1)
    parser.add_argument("--tokens_per_shard", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    with errors.needs("demo"):
        from data_pipeline.corpus import demo
    vocabulary = tokenizer.get(args.tokenizer)
    for role in demo.ROLES:
        out_dir = args.out_dir / role
        if (out_dir / shards.MANIFEST).is_file():
            dataset = shards.open_dataset(out_dir)
            if dataset.tokenizer_sha256 != vocabulary.sha256:
                raise errors.UserError(
                    f"{out_dir} has {dataset.tokenizer} tokens, wanted {args.tokenizer}: remove it"
                )
            print(f"{out_dir}: is there already")
            continue
        started = time.monotonic()
        reports = build.build_dataset(
            near_duplicates.with_split_keys(demo.documents(role)),
            out_dir=out_dir,
            vocabulary=vocabulary,
            settings=budget.Settings(
                seed=args.seed,
                val_fraction=args.val_fraction,
                tokens_per_shard=args.tokens_per_shard,
                workers=args.workers,
            ),
            recorded={"command": "prepare_demo", "role": role},
        )
        print(f"{out_dir} ({time.monotonic() - started:.1f} s)")
        for line in build_report.describe(reports):
            print(f"  {line}")
        for line in checks.after_build(out_dir, [], workers=args.workers):
            print(f"  {line}")
    return 0
