"""Command line options that the data tools share."""

import argparse
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.commands import sensitive
from data_pipeline.corpus import runner
from data_pipeline.prepare import inputs, not_read
from data_pipeline.readers import table
from data_pipeline.tokens import shards

# One process reads for all; and each that tokenises holds 70 MB.
_MOST_WORKERS = 16


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Adds how files become documents."""
    kinds = sorted(name for name, each in table.READERS.items() if each.takes == "file")
    parser.add_argument("--reader", choices=kinds, default="", help="for all files, not by suffix")
    parser.add_argument("--strict", action="store_true", help="stop at a file that is not read")
    parser.add_argument(
        "--max_bad", default="0.1%", help="share of bad records that is left out (a null text)"
    )
    parser.add_argument("--bad_text", choices=("error", "replace"), default="error")
    parser.add_argument(
        "--sensitive",
        choices=sensitive.HOWS,
        default="off",
        help="secrets and personal data: counted, or masked (requirements-sensitive.txt)",
    )
    parser.add_argument("--text_field", default="text", help="of .jsonl, .parquet, TFDS records")
    parser.add_argument("--doc_separator", default="", help="a regex that splits text files")
    parser.add_argument("--split_tsv", action="store_true", help="each .tsv field on its own line")
    parser.add_argument("--rows_per_document", type=int, default=64, help=".tsv rows, TFDS pairs")
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument("--filter_lines", action="store_true", help="20 to 2000 chars, 3 spaces")
    parser.add_argument("--fold_whitespace", action="store_true", help="loses indentation")
    # The original's switches for what is the default here: its command lines keep working.
    parser.add_argument("--no_normalize", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no_filter", action="store_true", help=argparse.SUPPRESS)


def input_options(args: argparse.Namespace) -> inputs.Options:
    """Returns the options that add_inputs parsed."""
    if args.rows_per_document < 1:
        raise errors.UserError(f"--rows_per_document {args.rows_per_document}: 1 or more is wanted")
    return inputs.Options(
        bad_text=args.bad_text,
        text_field=args.text_field,
        doc_separator=args.doc_separator,
        split_tsv=args.split_tsv,
        rows_per_document=args.rows_per_document,
        lowercase=args.lowercase,
        filter_lines=args.filter_lines,
        fold_whitespace=args.fold_whitespace,
        reader=args.reader,
    )


def not_read_of(args: argparse.Namespace) -> not_read.NotRead:
    """Returns what counts the files and records that are not read, with the limits of args."""
    text = args.max_bad.strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise errors.UserError(f"--max_bad {args.max_bad!r}: a share is wanted, like 0.1% or 0.001")
    return not_read.NotRead(strict=args.strict, max_bad=share)


def add_build(parser: argparse.ArgumentParser, *, val_fraction: float | None) -> None:
    """Adds how documents become shards."""
    parser.add_argument("--tokens_per_shard", type=int, default=10_000_000)
    parser.add_argument("--val_fraction", type=float, default=val_fraction)
    parser.add_argument("--seed", type=int, default=0)
    workers = min(runner.default_workers(), _MOST_WORKERS)
    parser.add_argument("--workers", type=int, default=workers, help="processes that tokenise")
    parser.add_argument(
        "--exclude_dir",
        action="append",
        type=Path,
        default=[],
        help="leave out what this dataset holds, and what holds text of it (repeatable)",
    )


def excluded_hashes(directories: list[Path]) -> np.ndarray:
    """Returns the content hashes of all documents of the datasets, sorted."""
    tables = [np.zeros(0, np.uint64)]
    tables += [shards.known_hashes(shards.open_dataset(directory)) for directory in directories]
    return np.unique(np.concatenate(tables))


def parse_specs(
    texts: list[str], *, reader: str = "", counted: not_read.NotRead | None = None
) -> list[inputs.Spec]:
    """Returns the parsed --source options; raises UserError when a name comes twice."""
    specs = [inputs.parse(text, reader=reader, counted=counted) for text in texts]
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise errors.UserError(
                f"--source {name} is given {names.count(name)} times: put its paths into one, "
                "separated by commas"
            )
    return specs


def parse_weights(texts: list[str]) -> dict[str, Fraction]:
    """Returns the parsed `--weight NAME:w` options as exact fractions."""
    weights: dict[str, Fraction] = {}
    for text in texts:
        name, _, value = text.rpartition(":")
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("nan")
        # Both are bounded, since a fraction of 1e999999999 would fill the memory.
        is_long = len(value) > 30 or (number.is_finite() and abs(number.adjusted()) > 30)
        if not name or not number.is_finite() or is_long:
            raise errors.UserError(f"--weight {text!r}: NAME:number is wanted, like wiki:0.5")
        if name in weights:
            raise errors.UserError(f"--weight {name} is given twice: give it once")
        weights[name] = Fraction(number)
    return weights


def recorded_inputs(specs: list[inputs.Spec], chosen: inputs.Options) -> dict:
    """Returns what the manifest keeps of the input: names of files, not where they stood."""
    return {
        "inputs": {spec.name: spec.recorded for spec in specs},
        "input_options": vars(chosen),
    }
