"""Measures reading and deduplication, per core, on real files or on the demo's text.

python scripts/bench_corpus.py --sources_dir=sources       # one row for every source that is there
python scripts/bench_corpus.py --sources_dir=sources --report=OUT/report.json    # of a build
python scripts/bench_corpus.py --reader=rest DIR           # one row for the files below DIR
python scripts/bench_corpus.py --dedup                     # MB/s, recall and precision of MinHash

MB are those of the files, decompressed, and CPU time is that of this process. "reader" is opening,
decompressing and converting; "all" is that and what else a build does with a document: cleaning,
quality rules, MinHash signature.
"""

import collections
import dataclasses
import json
import random
import re
import sys
import time
from pathlib import Path

from _checkout import ROOT

from data_pipeline import arguments, document, errors
from data_pipeline.corpus import clean, demo, quality, registry
from data_pipeline.corpus import read as parts
from data_pipeline.prepare import near_duplicates
from data_pipeline.readers import table as readers
from data_pipeline.similarity import minhash

REGISTRY = ROOT / "data_pipeline" / "corpus" / "phase2_domain.json"


def main(argv: list[str] | None = None) -> int:
    """Prints one Markdown table."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("--sources_dir", type=Path, help="one directory per source, as the builders take it")
    add("--registry", type=Path, default=REGISTRY)
    add("--only", action="append", default=[], help="a source's name; may be repeated")
    add("--report", type=Path, help="of a build: its rows, with the speeds of its sources")
    add("--sample_mb", type=float, default=4.0, help="of each source, spread over its files")
    add("--reader", choices=sorted(readers.READERS))
    add("--glob", default="**/*", help="of the files below DIR")
    add("--macros", action="store_true", help="MDN's macros (markdown)")
    add("--tokens", action="store_true", help="count GPT-2 tokens as well")
    add("--dedup", action="store_true")
    add("--dedup_documents", type=int, default=400)
    add("directories", nargs="*", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    if options.dedup:
        _dedup(options.dedup_documents)
    elif options.sources_dir:
        sources = registry.select(registry.load(options.registry), only=options.only, exclude=[])
        rows = [(source, options.sources_dir / source.name) for source in sources]
        rows = [row for row in rows if row[1].is_dir()]
        if options.report:
            _build(rows, options)
        else:
            _table(rows, options)
    elif options.reader and options.directories:
        _table([(_source(options), path) for path in options.directories], options)
    else:
        raise errors.UserError(
            "got nothing to measure, wanted --sources_dir=DIR, --reader=NAME DIR or --dedup"
        )
    return 0


def _source(options) -> registry.Source:
    """A source without rules of its own, for files that no registry names."""
    return registry.Source(
        name=options.reader,
        role="general",
        lang="",
        reader=options.reader,
        include=(options.glob,),
        licence="LicenseRef-own",
        attribution="",
        homepage="",
        fetch={"kind": "local"},
        options={"macros": True} if options.macros else {},
    )


def _table(rows: list[tuple[registry.Source, Path]], options) -> None:
    print("| source | reader | files | failed | documents | MB in | M characters out | tokens | "
          "MB/s reader | MB/s all |")  # fmt: skip
    print("|---|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for source, root in rows:
        print("| " + " | ".join(_row(source, root, options)) + " |", flush=True)


def _build(rows: list[tuple[registry.Source, Path]], options) -> None:
    """What a build made of each source; per cent are of the words in files or added by readers."""
    report = json.loads(options.report.read_text())
    print("| source | files | not read | documents | dropped | M characters | GPT-2 tokens | "
          "accounted, % | markup, % | left out, % | most of it | MB/s reader | MB/s all |\n"
          f"|---|{'---:|' * 9}---|---:|---:|")  # fmt: skip
    for source, root in rows:
        found = report["sources"].get(source.name)
        if found is None:
            continue
        counts, kept = found["counts"], found["kept"]
        cells = [
            source.name,
            f"{counts['files']:,}",
            f"{_sum(counts, 'files_failed/'):,}",
            f"{kept['documents']:,}",
            f"{_sum(counts, 'dropped/'):,}",
            f"{kept['chars'] / 1e6:.2f}",
            f"{kept['tokens']:,}",
            *_words(found["coverage"]),
            *_row(source, root, options)[-2:],
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
    total = report["total"]
    print(f"| **all** | | | {total['documents']:,} | | {total['chars'] / 1e6:.2f} | "
          f"{total['tokens']:,} | | | | | | |")  # fmt: skip


def _sum(counts: dict[str, int], kind: str) -> int:
    return sum(number for each, number in counts.items() if each.startswith(kind))


def _words(coverage: dict | None) -> list[str]:
    """Accounted, markup and left out in per cent, and the largest of the reasons for the last."""
    if coverage is None:
        return ["cannot account", "", "", ""]
    whole = (coverage["in"] + coverage["added"]) or 1
    markup = _sum(coverage["gone"], "markup/")
    others = {k: n for k, n in coverage["gone"].items() if not k.startswith("markup/")}
    left_out, most = sum(others.values()), max(others, key=lambda k: others[k], default="-")
    accounted = 100 * (1 - coverage["unaccounted"] / (coverage["in"] or 1))
    return [
        f"{accounted:.3f}",
        f"{100 * markup / whole:.1f}",
        f"{100 * left_out / whole:.1f}",
        most.replace("_", " ").removeprefix("dropped/").removeprefix("boilerplate/"),
    ]


def _row(source: registry.Source, root: Path, options) -> list[str]:
    names = _sample(source, root, int(options.sample_mb * 1e6))
    part = parts.Part(dataclasses.asdict(source) | {"origin": ""}, str(root), names, "", False, "")
    report = parts.Report()
    started = time.process_time()
    found = list(parts.raw(part, report))
    read = time.process_time() - started
    started = time.process_time()
    for each in found:
        text = clean.clean(each.text, rules=source.boilerplate)
        quality.reason(text, lang=each.lang or source.lang, limits=source.quality)
        minhash.band_keys(minhash.shingles(text))
    rest = time.process_time() - started
    size = sum(_size(root / name, source) for name in names) / 1e6
    failed = collections.Counter(
        {k.rpartition("/")[2]: n for k, n in report.counts.items() if k.startswith("files_failed/")}
    )
    return [
        source.name,
        source.reader,
        f"{len(names):,}",
        ", ".join(f"{n} {kind}" for kind, n in failed.items()) or "0",
        f"{len(found):,}",
        f"{size:.2f}",
        f"{sum(len(each.text) for each in found) / 1e6:.2f}",
        f"{_tokens([each.text for each in found]):,}" if options.tokens else "-",
        f"{size / read:.2f}",
        f"{size / (read + rest):.2f}",
    ]


def _sample(source: registry.Source, root: Path, max_bytes: int) -> tuple[str, ...]:
    """Files at equal distances, so many that they have about `max_bytes`; pairs stay together."""
    if root.is_file():
        raise errors.UserError(f"{root} is a file, wanted a directory")
    wanted = sorted(parts.wanted(source, root))
    if not wanted:
        raise errors.UserError(f"{root} has no file that {list(source.include)} includes")
    step = max(1, round(sum(size for _, size, _ in wanted) / max_bytes))
    whole = readers.READERS[source.reader].takes == "pair"
    return tuple(name for name, _, _ in (wanted if whole else wanted[::step]))


def _size(path: Path, source: registry.Source) -> int:
    """The size without compression; 0 for what cannot be read."""
    try:
        limits = {"name": path.name, "max_bytes": source.max_file_bytes}
        with readers.open_file(path, reader="jsonl", **limits) as stream:
            return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    except (document.ReadError, OSError):
        return 0


def _tokens(texts: list[str]) -> int:
    from data_pipeline.tokens import tokenizer

    encoder = tokenizer.get("gpt2")
    return sum(len(encoder.encode(text)) for text in texts)


def _dedup(count: int) -> None:
    texts = [each.text for role in demo.ROLES for each in demo.documents(role)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    started = time.process_time()
    for text in texts:
        minhash.band_keys(minhash.shingles(text))
    seconds = time.process_time() - started
    print(
        f"signatures: {len(texts):,} documents, {size:.1f} MB, {size / seconds:.2f} MB/s per core"
    )
    for many in (1_000, 4_000):
        # Texts that all resemble each other: an end of its own for each.
        alike = [
            document.Document(id=str(n), text=f"{texts[0][:3000]} {n}", source="alike")
            for n in range(many)
        ]
        started = time.process_time()
        near_duplicates.with_split_keys(alike)
        print(f"split keys of {many:,} near-duplicates: {time.process_time() - started:.2f} s")
    rng = random.Random(0)
    vocabulary = [word for text in texts[:300] for word in text.split()]
    chosen = rng.sample([text for text in texts if len(text) > 1500], count)
    threshold = registry.Source.__dataclass_fields__["jaccard"].default
    print(f"| words replaced | mean Jaccard | candidates | dropped at {threshold} | below 0.5 |")
    print("|---:|---:|---:|---:|---:|")
    for share in (0.01, 0.03, 0.05, 0.10, 0.20):
        found = [_pair(text, share, rng, vocabulary) for text in chosen]
        values = [value for value, _ in found]
        candidates = [value for value, is_candidate in found if is_candidate]
        dropped = [value for value in candidates if value >= threshold]
        low = sum(value < 0.5 for value in dropped)
        print(
            f"| {share:.0%} | {sum(values) / count:.2f} | {len(candidates) / count:.3f} | "
            f"{len(dropped) / count:.3f} | {low} of {len(dropped)} |"
        )


def _pair(text: str, share: float, rng: random.Random, vocabulary: list[str]) -> tuple[float, bool]:
    """True Jaccard similarity of a text and its changed copy, and whether they share a band."""

    def replace(word):
        return rng.choice(vocabulary) if rng.random() < share else word.group()

    left, right = minhash.shingles(text), minhash.shingles(re.sub(r"\S+", replace, text))
    shared = minhash.band_keys(left) == minhash.band_keys(right)
    return minhash.jaccard(left, right), bool(shared.any())


if __name__ == "__main__":
    sys.exit(errors.run(main))
