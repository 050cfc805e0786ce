"""Adds texts to a token dataset; whoever reads it meanwhile sees the old one or the new one.

    mypt append --dataset_dir data/itsec_v3_tokenized \\
        --source swiss_law:data/swiss_law_domain/fedlex_de_en.txt --target_tokens 50000000
"""

from pathlib import Path

from data_pipeline import arguments, errors
from data_pipeline.commands import options, sensitive
from data_pipeline.prepare import append, budget, build_report, inputs, near_duplicates
from data_pipeline.prepare.contamination import checks
from data_pipeline.readers import account
from data_pipeline.tokens import shards, tokenizer


def main(argv=None) -> int:
    """Prints what was added and what was there already."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--source", action="append", required=True, help="NAME:paths (repeatable)")
    parser.add_argument("--target_tokens", type=int, help="at most this many; default: everything")
    parser.add_argument("--tokenizer", help="only to be sure: must be the dataset's")
    options.add_build(parser, val_fraction=None)
    options.add_inputs(parser)
    # "" is not "off": what was not typed follows what the dataset was prepared with.
    parser.set_defaults(sensitive="")
    args = parser.parse_args(argv)
    dataset = shards.open_dataset(args.dataset_dir)
    refused = options.not_read_of(args)
    specs = options.parse_specs(args.source, reader=args.reader, counted=refused)
    chosen = options.input_options(args)
    fraction = args.val_fraction
    if fraction is None:  # the dataset's own, so that its split rule goes on
        fraction = next(iter(dataset.settings), {}).get("val_fraction")
        if not isinstance(fraction, int | float):  # a materialised mixture has those of its parts
            raise errors.UserError(
                f"{args.dataset_dir} does not say what fraction of it is val: give --val_fraction"
            )
    # What was masked is not to be beside names of the same kind that were not.
    is_masked = any(one.get("sensitive") == "mask" for one in dataset.settings)
    watch = sensitive.Watch(args.sensitive or ("mask" if is_masked else "off"))
    groups: dict[str, str] = {}
    counted = account.Words()
    reports = append.append_documents(
        watch.documents(
            inputs.documents(specs, chosen, groups=groups, account=counted, counted=refused)
        ),
        dataset_dir=args.dataset_dir,
        # Another one than the dataset's is refused inside: ids of two vocabularies look alike.
        vocabulary=tokenizer.get(args.tokenizer or dataset.tokenizer),
        settings=budget.Settings(
            seed=args.seed,
            val_fraction=fraction,
            tokens_per_shard=args.tokens_per_shard,
            total_tokens=args.target_tokens,
            # --target_tokens says at most: a text that is shorter is no mistake here.
            allow_short=True,
            workers=args.workers,
        ),
        recorded={
            "command": "append_to_dataset",
            **options.recorded_inputs(specs, chosen),
            **watch.recorded(),
        },
        groups=groups,
        excluded=options.excluded_hashes(args.exclude_dir),
        exclude_dirs=args.exclude_dir,
    )
    for line in (
        *build_report.describe(reports),
        *build_report.left_out(counted),
        *refused.lines(),
        *watch.lines(),
    ):
        print(line)
    # Said at the end, where it is read: the append itself is right without it.
    if not near_duplicates.is_available():
        print(
            "near-duplicates of older text: not looked for; pip install -r requirements-corpora.txt"
        )
    # Read again from the disk: that is what the next reader sees.
    now = shards.open_dataset(args.dataset_dir)
    total = sum(source.tokens["train"] for source in now.sources.values())
    print(f"{args.dataset_dir}: {total} train tokens in {len(now.sources)} sources now")
    for line in checks.after_build(args.dataset_dir, args.exclude_dir, workers=args.workers):
        print(line)
    return 0
