"""Looks for evaluation text in training text: equal documents, near-duplicates, long equal runs.

    python scripts/check_contamination.py --train_dir data/itsec_v3_tokenized \\
        --train_dir data/multilingual_1.5B_wiki90 --eval_dir data/my_eval_set

All text of the evaluation datasets is looked for; without --eval_dir the val splits of the training
datasets are. Exit code 1: found some.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from data_pipeline import errors
from data_pipeline.batches import mixture
from data_pipeline.prepare import contamination, options
from data_pipeline.tokens import shards


def main(argv=None) -> int:
    """Prints what was found, with examples."""
    parser = options.Parser(__doc__.splitlines()[0])
    parser.add_argument("--train_dir", action="append", required=True)
    parser.add_argument("--eval_dir", action="append", default=[])
    parser.add_argument("--min_jaccard", type=float, default=0.7)
    parser.add_argument("--run_tokens", type=int, default=50, help="length of a shared run")
    parser.add_argument("--max_share", type=float, default=0.01, help="of val in shared runs")
    parser.add_argument("--examples", type=int, default=3)
    args = parser.parse_args(argv)
    if args.run_tokens < 2 or not 0 < args.min_jaccard <= 1:
        raise errors.UserError("--run_tokens of 2 or more and --min_jaccard in 0..1 are wanted")
    if not 0 <= args.max_share <= 1 or args.examples < 0:
        raise errors.UserError("--max_share in 0..1 and --examples of 0 or more are wanted")
    # The role does not matter here; every training directory gets a share.
    train = mixture.build(
        domain=args.train_dir,
        general=(),
        domain_weights=(),
        general_weights=(),
        replay_ratio=0,
    ).components
    val, splits = [one for one in train if one.data.tokens["val"]], ("val",)
    if args.eval_dir:
        # Whoever evaluates on a dataset does so on all of it, however it was split.
        val, splits = list(mixture.components_of("general", args.eval_dir)), shards.SPLITS
    _check(train, val, splits, args.run_tokens)
    problems = 0
    for one in _equal(train, val, splits):
        problems += 1
        print(one)
    near = contamination.near_duplicates(train, val, min_jaccard=args.min_jaccard, splits=splits)
    print(f"near-duplicates of Jaccard {args.min_jaccard} or more: {len(near)}")
    for one in sorted(near, key=lambda one: -one.jaccard)[: args.examples]:
        beginning = " ".join(one.val_text.split())[:100]
        print(
            f"  {one.jaccard:.3f}: {one.val_key} val document {one.val_document} ~ "
            f"{one.train_key} train document {one.train_document}: {beginning!r}"
        )
    problems += len(near)
    for one in contamination.shared_runs(
        train, val, run_tokens=args.run_tokens, max_examples=args.examples, splits=splits
    ):
        share = one.covered_tokens / one.val_tokens
        print(
            f"runs of {args.run_tokens} tokens or more: {one.val_key} val in {one.train_key} "
            f"train: {one.covered_tokens} of {one.val_tokens} tokens, {share:.3%}"
        )
        for text in one.examples:
            print(f"  {' '.join(text.split())[:160]!r}")
        problems += share > args.max_share
    print("found contamination" if problems else "clean")
    return 1 if problems else 0


def _check(train, val, splits, run_tokens: int) -> None:
    """Raises UserError where nothing would be compared: that is not the same as clean."""
    tokens = sum(one.data.tokens[split] for one in val for split in splits)
    if tokens < run_tokens:
        raise errors.UserError(
            f"the evaluation text has {tokens} tokens, fewer than --run_tokens {run_tokens}: name "
            "what is evaluated on with --eval_dir, or prepare the data with a val split"
        )
    first = train[0].dataset
    for one in val:
        if one.dataset.tokenizer_sha256 != first.tokenizer_sha256:
            raise errors.UserError(
                f"{one.dataset.path} has {one.dataset.tokenizer} tokens, {first.path} "
                f"{first.tokenizer}: prepare it again with the same --tokenizer"
            )


def _equal(train, val, splits):
    """A line for each pair of a trained source and an examined one that share whole texts."""
    for one in train:
        known = np.unique(one.data.stream("train").doc_hashes)
        for other in val:
            tables = [other.data.stream(split).doc_hashes for split in splits]
            both = int(np.isin(np.concatenate(tables), known).sum())
            if both:
                where = " and ".join(splits)
                yield f"equal: {both} documents of {other.key} {where} in {one.key} train"


if __name__ == "__main__":
    sys.exit(errors.run(main))
