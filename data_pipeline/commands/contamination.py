"""Looks for evaluation text in training text: equal documents, passages, near-duplicates.

    mypt contamination --train_dir data/itsec_v3_tokenized \\
        --train_dir data/multilingual_1.5B_wiki90 --eval_dir data/my_eval_set

Only letters and digits count, so wrapping, quoting, case, punctuation and surrounding text hide
nothing. All text of the evaluation datasets is looked for; without --eval_dir the val splits of the
training datasets are. Exit code 1: found some.
"""

import itertools

import numpy as np

from data_pipeline import arguments, errors
from data_pipeline.batches import mixture
from data_pipeline.corpus import runner
from data_pipeline.prepare.contamination import compare, results, verdict
from data_pipeline.similarity import containment
from data_pipeline.tokens import shards


def main(argv=None) -> int:
    """Prints what was found, with examples, and what to do."""
    default = containment.Settings()
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("--train_dir", action="append", required=True)
    add("--eval_dir", action="append", default=[])
    add("--words", type=int, default=default.words, help="of the n-grams (a word: four letters)")
    add("--run_tokens", type=int, default=default.run_tokens, help="length of a passage")
    add(
        "--formula_documents",
        type=int,
        default=default.formula_documents,
        help="what so many documents of a training source have is a formula",
    )
    add("--min_jaccard", type=float, default=0.7, help="of near-duplicates")
    add("--max_share", type=float, default=verdict.MAX_SHARE, help="of evaluated text, in passages")
    add("--examples", type=int, default=3)
    add("--workers", type=int, default=runner.default_workers())
    args = parser.parse_args(argv)
    _check_options(args)
    settings = containment.Settings(args.words, args.run_tokens, args.formula_documents)
    train, evaluated = _opened(args)
    overlaps = compare.compare(
        train, evaluated, settings, workers=args.workers, examples=args.examples
    )
    if not any(one.documents > one.too_short for one in itertools.chain(*overlaps)):
        raise errors.UserError(
            f"the evaluation text has {sum(map(_tokens, evaluated))} tokens and no document of "
            f"--words {args.words} words: name what is evaluated on with --eval_dir, or prepare "
            "the data with a val split"
        )
    problems = 0
    for line in _equal(train, evaluated):
        problems += 1
        print(line)
    for one, row in zip(train, overlaps, strict=True):
        for other, overlap in zip(evaluated, row, strict=True):
            problems += verdict.is_found(overlap, args.max_share)
            if overlap.examples or overlap.formulae:
                print("\n".join(verdict.lines(one, other, overlap)))
    near = compare.near_duplicates_of(train, evaluated, min_jaccard=args.min_jaccard)
    problems += len(near)
    print(f"near-duplicates of Jaccard {args.min_jaccard} or more: {len(near)}")
    for one in sorted(near, key=lambda one: -one.jaccard)[: args.examples]:
        print(
            f"  {one.jaccard:.3f}: {one.evaluated} document {one.document} ~ {one.train} document "
            f"{one.train_document}: {' '.join(one.text.split())[:100]!r}"
        )
    try:
        results.keep(train, evaluated, settings, overlaps)
    except errors.UserError as error:
        print(f"the result is not kept for the stages that ask for it: {error}")
    for line in verdict.remedies(train, evaluated, overlaps, args.max_share):
        print(line)
    print("found contamination" if problems else "clean")
    return 1 if problems else 0


def _check_options(args) -> None:
    limits = {"words": 250, "run_tokens": 10**6, "formula_documents": 10**9, "workers": 10**4}
    for name, most in limits.items():
        if not 2 <= getattr(args, name) + (name == "workers") <= most:
            raise errors.UserError(f"--{name} {getattr(args, name)}: 2 to {most} is wanted")
    if not 0 < args.min_jaccard <= 1:
        raise errors.UserError(f"--min_jaccard {args.min_jaccard}: above 0 and up to 1 is wanted")
    if not 0 <= args.max_share <= 1 or args.examples < 0:
        raise errors.UserError("--max_share in 0..1 and --examples of 0 or more are wanted")


def _opened(args) -> tuple[list[compare.Documents], list[compare.Documents]]:
    """What is trained and what is evaluated on; the roles do not matter here."""
    trained, others = (
        [one for path in paths for one in mixture.components_of("domain", [path])]
        for paths in (args.train_dir, args.eval_dir)
    )
    train = [compare.Documents(one, "train") for one in trained]
    evaluated = [compare.Documents(one, "val") for one in trained]
    if args.eval_dir:
        # Whoever evaluates on a dataset does so on all of it, however it was split.
        evaluated = [compare.Documents(one, split) for one in others for split in shards.SPLITS]
    return [one for one in train if _tokens(one)], [one for one in evaluated if _tokens(one)]


def _tokens(one: compare.Documents) -> int:
    return one.component.data.tokens[one.split]


def _equal(train, evaluated):
    """A line for each pair of a trained source and an evaluated split that share whole texts."""
    for one in train:
        known = np.unique(one.component.data.stream("train").doc_hashes)
        for other in evaluated:
            both = int(np.isin(other.component.data.stream(other.split).doc_hashes, known).sum())
            if both:
                yield f"equal: {both} documents of {other} in {one}"
