"""Builds a corpus: fetch, read, clean, deduplicate, write documents.

mypt corpus domain --fetch --sources_dir=sources --out_dir=data/corpus_domain
mypt corpus general --sources_dir=sources --out_dir=data/corpus_general
mypt corpus domain --help
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from data_pipeline import arguments, errors
from data_pipeline.corpus import quality, runner

REGISTRIES = {
    "general": (
        "phase1_general.json",
        "Builds the general corpus from dumps and files on disk, or from what TFDS prepared.",
    ),
    "domain": (
        "phase2_domain.json",
        "Builds the domain corpus: fetch, read, clean, deduplicate, write documents.",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Builds the corpus that the first argument names."""
    parser = arguments.Parser(__doc__)
    kinds = parser.add_subparsers(dest="corpus", required=True)
    for name in REGISTRIES:
        _add_options(kinds.add_parser(name, help=REGISTRIES[name][1], text=_text(name)), name)
    return build_corpus(parser.parse_args(argv), say=print)


def main_of(name: str) -> Callable[..., int]:
    """The main of a command that builds one corpus only."""

    def main(argv: list[str] | None = None) -> int:
        parser = arguments.Parser(_text(name))
        _add_options(parser, name)
        return build_corpus(parser.parse_args(argv), say=print)

    return main


def _text(name: str) -> str:
    """The help of one corpus, with its example."""
    example = next(line for line in __doc__.splitlines() if f"mypt corpus {name} -" in line)
    return f"{REGISTRIES[name][1]}\n\n{example}"


def build_corpus(options: argparse.Namespace, *, say: Callable[[str], None]) -> int:
    """Fetches if asked to, builds; returns 0. Raises UserError for bad input."""
    build, build_report, fetch, registry = _parts()
    if options.workers < 1:
        raise errors.UserError(f"got --workers={options.workers}, wanted 1 or more")
    if not 0 <= options.min_accounted <= 1:
        raise errors.UserError(f"got --min_accounted={options.min_accounted}, wanted 0 to 1")
    # All of the command line is checked before the first fetch, which may take hours.
    sources = registry.select(
        registry.load(options.registry), only=options.only, exclude=options.exclude
    )
    for licence in options.exclude_licence:
        if licence not in registry.LICENCES:
            known = ", ".join(registry.LICENCES)
            raise errors.UserError(f"got licence {licence!r}, wanted one of {known}")
    sources = [s for s in sources if s.licence not in options.exclude_licence]
    if not sources:
        raise errors.UserError("no source is left by --exclude_licence; exclude fewer")
    limits = dict(_limit(text) for text in options.quality)
    # The command line goes over the registry, source by source.
    sources = [dataclasses.replace(s, quality={**s.quality, **limits}) for s in sources]
    for path in options.against:
        if not path.exists():
            raise errors.UserError(f"--against: {path} does not exist")
    _check_out_dir(options.out_dir, build.is_corpus)
    roots = {source.name: options.sources_dir / source.name for source in sources}
    for source in sources if options.fetch else ():
        # What a user has put there is never fetched over.
        if source.fetch["kind"] == "local" and roots[source.name].is_dir():
            continue
        done = fetch.fetch(source, roots[source.name], ca_file=options.ca_file)
        say(f"{source.name}: {done}")
    settings = build.Settings(
        out_dir=options.out_dir,
        seed=options.seed,
        workers=options.workers,
        runner=options.runner,
        mask=options.mask_personal,
        tokenizer=options.count_tokens,
        against=tuple(options.against),
    )
    report = build.build(sources, roots, settings, say=say)
    for name, row in report["sources"].items():
        say(f"{name}: {row['kept']['documents']:,} documents, {row['kept']['chars']:,} characters")
    for line in build_report.unaccounted(report, min_accounted=options.min_accounted):
        say(f"warning: {line}")
    say(f"wrote {options.out_dir / 'corpus_shards'} and {options.out_dir / 'report.md'}")
    return 0


def _parts() -> tuple[ModuleType, ...]:
    """The modules that build; not before they are needed, since they read with optional packages.

    Raises UserError where one is not installed.
    """
    with errors.needs("corpora"):
        from data_pipeline.corpus import build, build_report, registry
        from data_pipeline.corpus.fetch import fetch
    return build, build_report, fetch, registry


def _limit(text: str) -> tuple[str, float]:
    """Reads NAME=LIMIT of a quality rule."""
    name, _, value = text.partition("=")
    if name not in quality.DEFAULTS:
        rules = ", ".join(quality.DEFAULTS)
        raise errors.UserError(f"got --quality={text}, wanted NAME=LIMIT with one of {rules}")
    try:
        limit = float(value)
    except ValueError as error:
        raise errors.UserError(f"got --quality={text}, wanted a number as limit") from error
    with errors.needs("corpora"):
        from data_pipeline.corpus import schema
    schema.checked(schema.Quality, {name: limit}, f"--quality={text}")
    return name, limit


def _check_out_dir(out_dir: Path, is_corpus: Callable[[Path], bool]) -> None:
    for each in (out_dir, *out_dir.parents):
        if each.exists():
            if not each.is_dir():
                raise errors.UserError(f"--out_dir: {each} is a file, wanted a directory")
            break
    # The lock of an earlier build marks the directory as ours, also where that build was killed.
    is_used = out_dir.is_dir() and any(out_dir.iterdir())
    if is_used and not (out_dir / "work" / "lock").exists() and not is_corpus(out_dir):
        raise errors.UserError(
            f"--out_dir {out_dir} holds other files, which a build would replace: give a new or "
            "empty directory, or that of an earlier build"
        )


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    add = parser.add_argument
    add("--sources_dir", type=Path, default=Path("sources"), help="one directory per source")
    add("--out_dir", type=Path, required=True)
    add("--seed", type=int, default=42, help="decides the order of documents in the shards")
    add("--fetch", action="store_true", help="get what is missing in sources_dir first")
    add("--registry", type=Path, default=Path(__file__).with_name(REGISTRIES[name][0]))
    add("--only", action="append", default=[], help="a source's name; may be repeated")
    add("--exclude", action="append", default=[], help="a source's name; may be repeated")
    add("--exclude_licence", action="append", default=[], help="may be repeated")
    against = "evaluation documents (JSONL file or directory) that must not be in the corpus"
    add("--against", type=Path, action="append", default=[], help=against)
    add("--quality", action="append", default=[], metavar="NAME=LIMIT",
        help="limit of a quality rule, for all sources; may be repeated")  # fmt: skip
    accounted = "warn of sources of whose words less than this share has a reason to be left out"
    add("--min_accounted", type=float, default=0.99, help=accounted)
    add("--workers", type=int, default=runner.default_workers())
    add("--runner", choices=runner.RUNNERS, default="local")
    add("--mask_personal", action="store_true", help="mask e-mail and public IP addresses")
    add("--count_tokens", default="gpt2", help="tokenizer of the report's counts; '' for none")
    add("--ca_file", default="", help="certificate authority to trust instead of the system's")
