"""Makes a token dataset from texts: tokenise once, take by weight, split, write shards.

    mypt prepare --source 'domain:corpus/*.jsonl.zst' \\
        --total_tokens 500000000 --out_dir data/itsec_v3_tokenized
    mypt prepare --source 'wiki:en/*.txt' --source 'news:n/*.tsv' \\
        --weight wiki:0.9 --weight news:0.1 --total_tokens 1000000 --split_tsv --out_dir data/g
"""

import argparse
import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import arguments, atomic, errors
from data_pipeline.commands import canaries, options, sensitive
from data_pipeline.corpus import runner
from data_pipeline.prepare import budget, build, build_report, inputs
from data_pipeline.prepare.contamination import checks
from data_pipeline.readers import account
from data_pipeline.tokens import mypt_format, shards, tokenizer


def main(argv=None) -> int:
    """Prints what became of each source."""
    args = _parser().parse_args(argv)
    atomic.check_free(args.out_dir)
    refused = options.not_read_of(args)
    specs = options.parse_specs(args.source, reader=args.reader, counted=refused)
    chosen = options.input_options(args)
    vocabulary = _begun(tokenizer.get(args.tokenizer), args.bos, layout=args.layout)
    watch = sensitive.Watch(args.sensitive)
    _check_canaries(args, {spec.name for spec in specs})
    settings = _settings(args)
    started, groups, counted = time.monotonic(), {}, account.Words()
    with contextlib.ExitStack() as stack:
        is_original = args.layout == "mypt"
        native = stack.enter_context(_scratch(args.out_dir)) if is_original else args.out_dir
        reports = build.build_dataset(
            itertools.chain(
                watch.documents(
                    inputs.documents(specs, chosen, groups=groups, account=counted, counted=refused)
                ),
                canaries.documents(args.canaries, seed=args.seed),
            ),
            out_dir=native,
            vocabulary=vocabulary,
            settings=settings,
            recorded={
                "command": "prepare_weighted_dataset",
                **options.recorded_inputs(specs, chosen),
                **({"canaries": args.canaries} if args.canaries else {}),
                **watch.recorded(),
            },
            groups=groups,
            excluded=options.excluded_hashes(args.exclude_dir),
            exclude_dirs=args.exclude_dir,
        )
        if is_original:
            _write_original(native, args.out_dir, vocabulary, settings, specs)
    for line in (
        *build_report.describe(reports),
        *build_report.left_out(counted),
        *refused.lines(),
        *watch.lines(),
    ):
        print(line)
    tokens = sum(sum(one.tokens.values()) for one in reports)
    if args.total_tokens and tokens < args.total_tokens:
        print(f"{args.total_tokens} tokens asked for, {tokens} are there: all are taken")
    seconds = time.monotonic() - started
    print(f"{args.out_dir}: {tokens} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} a second")
    for line in checks.after_build(args.out_dir, args.exclude_dir, workers=args.workers):
        print(line)
    return 0


def _parser() -> arguments.Parser:
    parser = arguments.Parser(__doc__)
    parser.add_argument(
        "--source",
        action="append",
        required=True,
        help="NAME:folder, archive, file or glob, or NAME:tfds:builder/config:split (repeatable)",
    )
    parser.add_argument("--weight", action="append", default=[], help="NAME:w (repeatable)")
    parser.add_argument("--total_tokens", type=int, help="default: everything")
    parser.add_argument("--out_dir", type=Path, required=True)
    parser.add_argument("--tokenizer", default="gpt2", help=", ".join(tokenizer.NAMES))
    parser.add_argument(
        "--bos",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether documents begin with the tokenizer's BOS; auto: as its model was given texts",
    )
    parser.add_argument("--repeat", action="store_true", help="repeat train of short sources")
    parser.add_argument("--max_repeat", type=int, default=100)
    parser.add_argument("--allow_short", action="store_true", help="keep going with less")
    parser.add_argument("--runner", choices=runner.RUNNERS, default="local", help="what tokenises")
    parser.add_argument(
        "--canaries", type=int, default=0, help="random texts, of which evaluate --recite asks"
    )
    parser.add_argument("--layout", choices=("mypt_jax", "mypt"), default="mypt_jax")
    options.add_build(parser, val_fraction=0.1)
    options.add_inputs(parser)
    return parser


def _settings(args: argparse.Namespace) -> budget.Settings:
    return budget.Settings(
        seed=args.seed,
        val_fraction=args.val_fraction,
        tokens_per_shard=args.tokens_per_shard,
        total_tokens=args.total_tokens,
        weights=options.parse_weights(args.weight),
        repeat=args.repeat,
        max_repeat=args.max_repeat,
        allow_short=args.allow_short,
        workers=args.workers,
        runner=args.runner,
    )


def _begun(vocabulary: tokenizer.Tokenizer, bos: str, *, layout: str) -> tokenizer.Tokenizer:
    """Raises UserError for a BOS that the tokenizer, or the layout, does not have."""
    if layout == "mypt":
        begins = vocabulary.adds_bos and vocabulary.bos != vocabulary.eot
        if bos == "yes" or bos == "auto" and begins:
            raise errors.UserError(
                f"--bos={bos}: the original's layout has documents without BOS, with which "
                f"{vocabulary.name} begins texts: pass --bos=no, or leave --layout out"
                if begins
                else "--bos=yes: the original's layout has documents without BOS"
            )
        return vocabulary
    if vocabulary.bos == vocabulary.eot:  # which stands before every document as it is
        if bos == "yes":
            raise errors.UserError(
                f"--bos=yes: the BOS of {vocabulary.name} is its end-of-text, which stands between "
                "documents in any case: leave --bos out"
            )
        return vocabulary
    return vocabulary.beginning(vocabulary.adds_bos if bos == "auto" else bos == "yes")


def _check_canaries(args, names: set[str]) -> None:
    """Raises UserError where texts cannot be planted as a source of their own."""
    if args.canaries < 0:
        raise errors.UserError(f"--canaries={args.canaries}: wanted 0 or more")
    if args.canaries and (args.total_tokens or args.weight):
        raise errors.UserError("--canaries are taken whole: leave --total_tokens and --weight out")
    if args.canaries and canaries.SOURCE in names:
        raise errors.UserError(f"--canaries are a source {canaries.SOURCE}: name yours otherwise")


@contextlib.contextmanager
def _scratch(out_dir: Path) -> Iterator[Path]:
    """Where the dataset is made that another layout is written from: beside it, for one command."""
    work = out_dir.parent / f".{out_dir.name}.native"
    work.mkdir(parents=True, exist_ok=True)
    with atomic.locked(work):
        shutil.rmtree(work / "dataset", ignore_errors=True)
        try:
            yield work / "dataset"
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _write_original(
    native: Path,
    out_dir: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    specs: list[inputs.Spec],
) -> None:
    dataset = shards.open_dataset(native)
    with atomic.staged_directory(out_dir) as staging:
        mypt_format.write(
            staging,
            vocabulary=vocabulary,
            splits={
                split: [source.stream(split) for source in dataset.sources.values()]
                for split in shards.SPLITS
            },
            tokens_per_shard=settings.tokens_per_shard,
            val_fraction=settings.val_fraction,
            sources={spec.name: spec.recorded for spec in specs},
            targets={name: sum(one.tokens.values()) for name, one in dataset.sources.items()},
        )
