"""Measures preparing a dataset against tiktoken alone, and two workers against one.

    python scripts/bench_tokenize.py                                # on the demo's general text
    python scripts/bench_tokenize.py --source 'law:laws/*.md' --repeat_text 4

Each measurement is the median of interleaved rounds. `prepare` is everything that
prepare_weighted_dataset does: read, hash, tokenise, spill, split, write, fsync.
"""

import dataclasses
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiktoken  # noqa: E402

from data_pipeline import (  # noqa: E402
    budget,
    errors,
    inputs,
    options,
    prepare,
    tokenizer,
)
from data_pipeline.corpus import demo  # noqa: E402


def main(argv=None) -> int:
    """Prints one JSON object; exit code 1 below 0.9 of tiktoken or 1.8 with two workers."""
    parser = options.Parser(__doc__.splitlines()[0])
    parser.add_argument("--source", action="append", default=[], help="default: the demo's wiki")
    parser.add_argument("--tokenizer", default="gpt2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat_text", type=int, default=10, help="enlarge the text (numbered)")
    parser.add_argument("--work_dir", help="where datasets are written; default: the temp dir")
    options.add_inputs(parser)
    args = parser.parse_args(argv)
    documents = list(_documents(args))
    text_bytes = sum(len(item.text.encode()) for item in documents)
    vocabulary = tokenizer.get(args.tokenizer)
    raw = _raw_encoding(vocabulary)
    measured: dict[str, list[tuple[float, float]]] = {"tiktoken": [], "one": [], "two": []}
    for _ in range(args.rounds):
        measured["tiktoken"].append(_timed(lambda: [raw(item.text) for item in documents]))
        for name, workers in (("one", 1), ("two", 2)):
            with tempfile.TemporaryDirectory(dir=args.work_dir) as directory:
                measured[name].append(
                    _timed(lambda d=directory, w=workers: _prepare(documents, d, vocabulary, w))
                )
    wall = {name: statistics.median(one[0] for one in times) for name, times in measured.items()}
    cpu = {name: statistics.median(one[1] for one in times) for name, times in measured.items()}
    ratios = {
        # Per core: CPU seconds count, so that a busy machine does not flatter or hurt.
        "prepare_to_tiktoken_per_core": round(cpu["tiktoken"] / cpu["one"], 3),
        "two_workers_to_one": round(wall["one"] / wall["two"], 3),
    }
    rates = {f"{name}_mb_per_sec": round(text_bytes / wall[name] / 1e6, 2) for name in wall}
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "documents": len(documents),
                "text_bytes": text_bytes,
                **rates,
                **ratios,
                "peak_rss_bytes": peak_bytes,
            },
            indent=1,
        )
    )
    good = ratios["prepare_to_tiktoken_per_core"] >= 0.9 and ratios["two_workers_to_one"] >= 1.8
    return 0 if good else 1


def _documents(args):
    specs = options.parse_specs(args.source)
    read = inputs.documents(specs, options.input_options(args), groups={})
    found = list(read if specs else demo.documents("general"))
    for round_ in range(args.repeat_text):
        for item in found:
            # Numbered, because equal documents would be dropped.
            text = item.text if round_ == 0 else f"{round_}\n{item.text}"
            yield dataclasses.replace(item, id=f"{round_}/{item.id}", text=text)


def _raw_encoding(vocabulary: tokenizer.Tokenizer):
    """What a user of tiktoken would call on the same vocabulary."""
    encoding: tiktoken.Encoding | None = vocabulary.encoding
    if encoding is None:
        raise errors.UserError(f"{vocabulary.name} is not a tiktoken vocabulary: use gpt2")
    return encoding.encode_ordinary


def _timed(work) -> tuple[float, float]:
    """Returns (wall seconds, CPU seconds of all threads)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _prepare(documents, directory: str, vocabulary, workers: int) -> None:
    prepare.build_dataset(
        documents,
        out_dir=Path(directory) / "dataset",
        vocabulary=vocabulary,
        settings=budget.Settings(
            seed=0,
            val_fraction=0.1,
            tokens_per_shard=10_000_000,
            total_tokens=None,
            weights={},
            repeat=False,
            max_repeat=1,
            allow_short=False,
            workers=workers,
        ),
        recorded={},
    )


if __name__ == "__main__":
    sys.exit(errors.run(main))
