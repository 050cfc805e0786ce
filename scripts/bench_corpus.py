"""Measures readers and deduplication, per core, on real files or on the demo's text.

python scripts/bench_corpus.py --reader=rest DIR           # a table row: files, sizes, tokens, MB/s
python scripts/bench_corpus.py --dedup                     # MB/s, recall and precision of MinHash
"""

import argparse
import collections
import random
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data_pipeline import errors  # noqa: E402
from data_pipeline.corpus import demo, document, minhash, readers, registry  # noqa: E402

MAX_FILE_BYTES = 64 * 1024 * 1024


def main(argv: list[str] | None = None) -> int:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--reader", choices=sorted(set(readers.READERS) - readers.PAIRED))
    parser.add_argument("--glob", default="**/*", help="of the files below DIR")
    parser.add_argument("--every", type=int, default=1, help="take every n-th file")
    parser.add_argument("--tokens", action="store_true", help="count GPT-2 tokens as well")
    parser.add_argument("--macros", action="store_true", help="MDN's macros (markdown)")
    parser.add_argument("--dedup", action="store_true")
    parser.add_argument("--dedup_documents", type=int, default=400)
    parser.add_argument("directories", nargs="*", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    if options.dedup:
        _dedup(options.dedup_documents)
    elif options.reader and options.directories:
        _reader(options)
    else:
        raise errors.UserError("got nothing to measure, wanted --dedup or --reader=NAME DIR")
    return 0


def _reader(options) -> None:
    paths = sorted(
        path
        for directory in options.directories
        for path in (directory.rglob("*") if directory.is_dir() else [directory])
        if path.is_file()
        and not path.is_symlink()
        and (
            path == directory
            or registry.matches(path.relative_to(directory).as_posix(), (options.glob,))
        )
    )[:: options.every]
    if not paths:
        raise errors.UserError(f"no file matches {options.glob}")
    reader_options = {"macros": True} if options.macros else {}
    failed = collections.Counter()
    read_bytes, texts = 0, []
    started = time.process_time()
    for path in paths:
        # The compressed file is opened inside: decompression is part of a reader's work.
        try:
            if options.reader in readers.WHOLE_SOURCE:
                found = readers.source_documents(
                    [(path.name, path)],
                    max_bytes=MAX_FILE_BYTES,
                    on_error=lambda _, error: failed.update([error.kind]),
                )
            else:
                found = readers.documents(
                    options.reader,
                    path,
                    name=path.name,
                    max_bytes=MAX_FILE_BYTES,
                    options=reader_options,
                )
            texts += [each.text for each in found]
        except document.ReadError as error:
            failed[error.kind] += 1
    seconds = time.process_time() - started
    read_bytes = sum(_raw_bytes(path) for path in paths)
    chars = sum(map(len, texts))
    row = [
        options.reader,
        f"{len(paths):,}",
        ", ".join(f"{n} {kind}" for kind, n in failed.items()) or "0",
        f"{len(texts):,}",
        f"{read_bytes / 1e6:.2f}",
        f"{chars / 1e6:.2f}",
        f"{_tokens(texts):,}" if options.tokens else "-",
        f"{read_bytes / 1e6 / seconds:.2f}",
    ]
    print("| reader | files | failed | documents | MB in | M characters out | tokens | MB/s |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    print("| " + " | ".join(row) + " |")


def _raw_bytes(path: Path) -> int:
    """The size without compression."""
    with readers.open_file(path, reader="jsonl", max_bytes=MAX_FILE_BYTES) as stream:
        return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))


def _tokens(texts: list[str]) -> int:
    from data_pipeline import tokenizer

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
