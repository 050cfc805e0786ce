"""Measures preparing a dataset: speed against tiktoken alone, two workers against one, memory.

    python scripts/bench_tokenize.py                                # on the demo's general text
    python scripts/bench_tokenize.py --source 'law:laws/*.md' --text_bytes 200000000
    python scripts/bench_tokenize.py --memory documents --text_bytes 2000000000

The text is enlarged to --text_bytes by repeating it with every paragraph numbered. Each speed is
the median of interleaved rounds, over documents in memory; `prepare` is what the command does with
them: hash, tokenise, spill, split, write, fsync. What two threads and two processes of tiktoken
alone reach is measured beside it: that is what the machine has. `tiktoken` is its own pattern of
GPT-2, `encode` ours, `read` takes the texts from JSON lines; `--fuzz_bytes` compares the two
patterns' ids on that much random text as well. `--memory` runs the command
prepare_weighted_dataset on files instead, and adds up the peaks of all of its processes.
"""

import argparse
import html
import itertools
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import tiktoken
from _checkout import ROOT

from data_pipeline import arguments, document, errors
from data_pipeline.commands import options
from data_pipeline.corpus import demo
from data_pipeline.prepare import budget, build, inputs
from data_pipeline.tokens import bpe, tokenizer

_LEAST_PER_CORE, _LEAST_TWO_WORKERS, _LEAST_ENCODE = 0.9, 1.8, 1.1
_MOST_MEMORY_BYTES = 1_500_000_000
_FILE_BYTES = 250_000_000
# A file's shape: many files of records, one of them, one Parquet file, one text file, one line of
# text, a record for each line, one MediaWiki dump.
_SHAPES = ("documents", "jsonl", "parquet", "book", "line", "tiny", "dump")
_ONE_CORE = ("read", "tiktoken", "encode", "prepare")
_ROWS = 1000  # of a row group


def main(argv=None) -> int:
    """Prints one JSON object; exit code 1 where a figure misses its limit."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--source", action="append", default=[], help="default: the demo's wiki")
    parser.add_argument("--tokenizer", default="gpt2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text_bytes", type=int, default=30_000_000)
    parser.add_argument("--fuzz_bytes", type=int, default=0, help="compare ids on random text")
    parser.add_argument("--memory", choices=_SHAPES, help="measure memory, on input of this shape")
    parser.add_argument("--workers", type=int, default=2, help="with --memory")
    parser.add_argument("--work_dir", help="where files are written; default: the temp dir")
    options.add_inputs(parser)
    args = parser.parse_args(argv)
    specs = options.parse_specs(args.source)
    read = inputs.documents(specs, options.input_options(args), groups={})
    texts = [item.text for item in (read if specs else demo.documents("general"))]
    with tempfile.TemporaryDirectory(dir=args.work_dir) as directory:
        if args.memory:
            figures, good = _memory(texts, args, Path(directory))
        else:
            figures, good = _speed(texts, args, Path(directory))
    print(json.dumps(figures, indent=1))
    return 0 if good else 1


def _enlarged(texts: list[str], text_bytes: int) -> Iterator[str]:
    """The texts again and again, each paragraph numbered: equal documents would be dropped."""
    made = round_ = 0
    while True:
        for text in texts:
            text = f"{round_} {text}".replace("\n\n", f"\n\n{round_} ")
            yield text
            made += len(text.encode())
            if made >= text_bytes:
                return
        round_ += 1


def _speed(texts: list[str], args: argparse.Namespace, directory: Path) -> tuple[dict, bool]:
    texts = list(_enlarged(texts, args.text_bytes))
    vocabulary = tokenizer.get(args.tokenizer)
    if vocabulary.encoding is None:
        raise errors.UserError(f"{vocabulary.name} is not a tiktoken vocabulary: use gpt2")
    published = tiktoken.Encoding(
        "published",
        pat_str=bpe.PATTERN,
        mergeable_ranks=vocabulary.encoding._mergeable_ranks,
        special_tokens={},
    )
    for text in itertools.chain(texts, _random_texts(args.fuzz_bytes)):
        if vocabulary.encode_uint32(text).tolist() != published.encode_ordinary(text):
            raise errors.UserError(f"other ids than tiktoken's: {text[:1000]!r}")
    encode = published.encode_ordinary  # what a user of tiktoken calls

    def ours() -> None:
        for text in texts:
            vocabulary.encode_uint32(text)

    def run(part: list[str]) -> None:
        for text in part:
            encode(text)

    halves = [texts[0::2], texts[1::2]]
    lines = directory / "texts.jsonl"
    with open(lines, "w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    options_read = options.input_options(args)

    def read() -> None:
        for _ in inputs.documents(options.parse_specs([f"a:{lines}"]), options_read, groups={}):
            pass

    work = {
        "read": read,
        "tiktoken": lambda: run(texts),
        "encode": ours,
        "tiktoken_two_threads": lambda: _in_threads(run, halves),
        "tiktoken_two_processes": lambda: _in_processes(run, halves),
        "prepare": lambda: _prepare(texts, directory, vocabulary, 1),
        "prepare_two_workers": lambda: _prepare(texts, directory, vocabulary, 2),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, one in work.items():
            measured[name].append(_timed(one))
    wall = {name: statistics.median(one[0] for one in times) for name, times in measured.items()}
    cpu = {name: statistics.median(one[1] for one in times) for name, times in measured.items()}
    size = sum(len(text.encode()) for text in texts)
    # Per core: CPU seconds count, so that a busy machine does not flatter or hurt.
    per_core = cpu["tiktoken"] / cpu["prepare"]
    encode_to_tiktoken = cpu["tiktoken"] / cpu["encode"]
    two_workers = wall["prepare"] / wall["prepare_two_workers"]
    figures = {
        "documents": len(texts),
        "text_bytes": size,
        **{f"{name}_mb_per_sec": round(size / secs / 1e6, 2) for name, secs in wall.items()},
        # On a busy machine these say more.
        **{f"{name}_mb_per_cpu_sec": round(size / cpu[name] / 1e6, 2) for name in _ONE_CORE},
        "tiktoken_two_threads_to_one": round(wall["tiktoken"] / wall["tiktoken_two_threads"], 3),
        "tiktoken_two_processes_to_one": round(
            wall["tiktoken"] / wall["tiktoken_two_processes"], 3
        ),
        "fuzz_bytes": args.fuzz_bytes,
        "encode_to_tiktoken_per_core": round(encode_to_tiktoken, 3),
        "prepare_to_tiktoken_per_core": round(per_core, 3),
        "two_workers_to_one": round(two_workers, 3),
    }
    good = per_core >= _LEAST_PER_CORE and two_workers >= _LEAST_TWO_WORKERS
    return figures, good and encode_to_tiktoken >= _LEAST_ENCODE


def _random_texts(size: int) -> Iterator[str]:
    """Random text of so many bytes: runs of each class of characters, borders, odd code points."""
    draw = random.Random(0)
    classes = [
        "  \t\n\r\f\v\x1c\x1f\x85\xa0\u2003\u2028\u3000",
        "'sdmtlvre",
        "aZ\u00df\u4e2d\u05d0",
        "09\u0663\u00bd\u2167",
        "!_-\u0301\u0e31\u200d\U0001f600\ufeff\0",
    ]
    while size > 0:
        parts = []
        for _ in range(2000):
            if draw.random() < 0.05:
                code = draw.randrange(0x110000 - 0x800)
                parts.append(chr(code if code < 0xD800 else code + 0x800))
            else:
                length = 1 + int(draw.expovariate(0.5))
                parts.append("".join(draw.choices(draw.choice(classes), k=length)))
        text = "".join(parts)
        size -= len(text.encode())
        yield text


def _timed(work) -> tuple[float, float]:
    """Returns (wall seconds, CPU seconds of this process)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _in_threads(run, parts: list[list[str]]) -> None:
    with futures.ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(run, parts))


def _in_processes(run, parts: list[list[str]]) -> None:
    # fork: they have the texts and the vocabulary already, so only encoding is measured.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(part,)) for part in parts]
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, which here are NumPy's and idle.
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in processes:
            process.start()
    for process in processes:
        process.join()


def _prepare(texts: list[str], directory: Path, vocabulary, workers: int) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as out:
        build.build_dataset(
            (document.Document(id=str(i), text=t, source="text") for i, t in enumerate(texts)),
            out_dir=Path(out) / "dataset",
            vocabulary=vocabulary,
            settings=budget.Settings(
                seed=0,
                val_fraction=0.1,
                tokens_per_shard=10_000_000,
                workers=workers,
            ),
            recorded={},
        )


def _memory(texts: list[str], args: argparse.Namespace, directory: Path) -> tuple[dict, bool]:
    (directory / "text").mkdir()
    files = _write(_enlarged(texts, args.text_bytes), args.memory, directory / "text")
    command = [sys.executable, str(ROOT / "scripts" / "prepare_weighted_dataset.py")]
    command += ["--source", f"text:{directory}/text/*", "--out_dir", str(directory / "dataset")]
    command += ["--tokenizer", args.tokenizer, "--workers", str(args.workers)]
    command += ["--reader", "mediawiki"] if args.memory == "dump" else []
    started = time.perf_counter()
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for pid in _family(process.pid):
                peaks[pid] = max(peaks.get(pid, 0), _peak_bytes(pid))
            time.sleep(0.05)
        said = process.stdout.read()
    if process.returncode:
        raise errors.UserError(f"prepare_weighted_dataset ended with {process.returncode}")
    figures = {
        "shape": args.memory,
        "files": len(files),
        "file_bytes": sum(file.stat().st_size for file in files),
        "workers": args.workers,
        "secs": round(time.perf_counter() - started, 1),
        "said": said.splitlines(),
        "peak_bytes_by_process": sorted(peaks.values(), reverse=True),
        "peak_bytes": sum(peaks.values()),
    }
    return figures, figures["peak_bytes"] < _MOST_MEMORY_BYTES


def _write(texts: Iterator[str], shape: str, directory: Path) -> list[Path]:
    """Writes the texts in files of a shape; returns the files."""
    if shape == "parquet":
        return [_write_parquet(texts, directory / "000.parquet")]
    if shape == "dump":
        return [_write_dump(texts, directory / "000.xml")]
    files: list[Path] = []
    suffix = "txt" if shape in ("book", "line") else "jsonl"
    file, written = None, 0
    for text in texts:
        if file is None or (shape in ("documents", "tiny") and written >= _FILE_BYTES):
            if file is not None:
                file.close()
            files.append(directory / f"{len(files):03d}.{suffix}")
            file, written = open(files[-1], "w", encoding="utf-8"), 0
        if shape == "book":
            written += file.write(f"{text}\n\n")
        elif shape == "line":
            written += file.write(f"{' '.join(text.split())} ")
        else:
            for one in text.splitlines() if shape == "tiny" else [text]:
                written += file.write(json.dumps({"text": one}, ensure_ascii=False) + "\n")
    if file is not None:
        file.close()
    return files


def _write_parquet(texts: Iterator[str], path: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([("text", pyarrow.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        while rows := [{"text": text} for text in itertools.islice(texts, _ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    return path


def _write_dump(texts: Iterator[str], path: Path) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        file.write("<mediawiki>\n")
        for number, text in enumerate(texts):
            file.write(
                f"<page><title>Page {number}</title><ns>0</ns><id>{number}</id><revision><text>"
                f"{html.escape(text)}</text></revision></page>\n"
            )
        file.write("</mediawiki>\n")
    return path


def _family(pid: int) -> list[int]:
    """A process and its descendants, as far as they are there."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                children = Path(f"/proc/{one}/task/{task}/children").read_text().split()
                found += [int(child) for child in children]
        except OSError:
            continue
    return found


def _peak_bytes(pid: int) -> int:
    """The most memory that a process has had resident so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
