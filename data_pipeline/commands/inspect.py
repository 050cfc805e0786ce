"""Shows what a token dataset holds, checks it, and decodes documents.

mypt inspect data/demo/domain --verify --decode 2
"""

import json
from pathlib import Path

from data_pipeline import arguments, errors
from data_pipeline.tokens import mypt_format, shards, texts, tokenizer, verification

_HEAD = ("source", "train tokens", "docs", "val tokens", "docs", "val", "bytes/token", "licence")


def main(argv=None) -> int:
    """Prints a table of the sources."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--verify", action="store_true", help="hash and range-check every file")
    parser.add_argument("--decode", type=int, default=0, help="documents to show of each source")
    parser.add_argument("--split", choices=shards.SPLITS, default="train", help="for --decode")
    parser.add_argument("--tokenizer", default="", help="for --decode: mypt-v8, whose tags differ")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)
    dataset = shards.open_dataset(args.directory)
    if args.verify:
        verification.verify(dataset)
    if args.json:
        print(json.dumps(_summary(dataset) | {"verified": args.verify}, indent=1))
        return 0
    print(
        f"{dataset.path}: {dataset.tokenizer} ({dataset.vocab_size} ids, largest "
        f"{dataset.max_id}), {dataset.dtype.name}, {dataset.storage}, "
        f"fingerprint {dataset.fingerprint[:16]}"
    )
    rows = [_HEAD, *(_row(source) for source in dataset.sources.values())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:-1], row[-1]]))
    if args.verify:
        if dataset.storage == mypt_format.STORAGE:
            print("verified: every id is in the vocabulary; the original keeps no hashes")
        else:
            print("verified: hashes, ids and document ends are as the manifest says")
    vocabulary = dataset.vocabulary(args.tokenizer)
    if args.decode:
        _check_tokenizer(dataset, vocabulary)
    for source in dataset.sources.values() if args.decode else ():
        for number, text in _decoded(source, vocabulary, args.split, args.decode):
            print(f"--- {source.name}/{args.split} document {number}")
            print(text)
    return 0


def _row(source: shards.Source) -> tuple[str, ...]:
    train, val = source.tokens["train"], source.tokens["val"]
    text_bytes = sum(source.text_bytes.values())
    # The original does not say where documents end.
    documents = {
        split: "?" if source.storage == mypt_format.STORAGE else f"{count:,}"
        for split, count in source.documents.items()
    }
    return (
        source.name,
        f"{train:,}",
        documents["train"],
        f"{val:,}",
        documents["val"],
        f"{val / max(1, train + val):.1%}",
        f"{text_bytes / max(1, train + val):.2f}" if text_bytes else "?",
        source.licence or "?",
    )


def _summary(dataset: shards.Dataset) -> dict:
    return {
        "path": dataset.path,
        "tokenizer": dataset.tokenizer,
        "vocab_size": dataset.vocab_size,
        "bos": dataset.bos,
        "max_id": dataset.max_id,
        "dtype": dataset.dtype.name,
        "storage": dataset.storage,
        "fingerprint": dataset.fingerprint,
        "settings": dataset.settings,
        "sources": {
            source.name: {
                "tokens": source.tokens,
                "documents": source.documents,
                "text_bytes": source.text_bytes,
                "licence": source.licence,
            }
            for source in dataset.sources.values()
        },
    }


def _check_tokenizer(dataset: shards.Dataset, vocabulary: tokenizer.Tokenizer) -> None:
    if dataset.tokenizer_sha256 != vocabulary.sha256:
        raise errors.UserError(
            f"{dataset.path} was made with tokenizer {dataset.tokenizer}, got "
            f"--tokenizer={vocabulary.name}: leave it out"
        )
    dataset.check_ids(vocabulary)


def _decoded(source: shards.Source, vocabulary: tokenizer.Tokenizer, split: str, count: int):
    """Yields (number, text) of `count` documents, spread over the split."""
    stream = source.stream(split)
    ends = texts.ends_of(source, split, eot=vocabulary.eot)
    count = min(count, len(ends))
    for i in range(count):
        number = (2 * i + 1) * len(ends) // (2 * count)
        start = int(ends[number - 1]) if number else 0
        tokens = stream[start : int(ends[number])]
        if tokens[-1] == vocabulary.eot:
            tokens = tokens[:-1]
        if len(tokens) and tokens[0] == vocabulary.document_bos:
            tokens = tokens[1:]
        yield number, vocabulary.decode(tokens)
