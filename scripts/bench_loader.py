"""Measures the training loader on a generated dataset of two roles: tokens per second.

    python scripts/bench_loader.py                                   # 30 M tokens, 12 x 1024
    python scripts/bench_loader.py --domain data/demo/domain --general data/demo/general
    python scripts/bench_loader.py --schedule    # the order of 2, 20, 200 sources, long periods

Exit code 1 below 2 M tokens/s; one H100 at half of its peak consumes 0.1 M of a 750M model's.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import _checkout  # noqa: F401
import _random_data

from data_pipeline import arguments, errors
from data_pipeline.batches import loader, mixture, source_order

_LEAST = 2e6
_MOST_SECS_PER_MILLION = 2.0
_RESUMED_AT = 4_000_000  # windows


def main(argv=None) -> int:
    """Prints one JSON object with the median of the rounds."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--domain", action="append", default=[])
    parser.add_argument("--general", action="append", default=[])
    parser.add_argument("--tokens", type=int, default=30_000_000, help="generated, both roles")
    parser.add_argument("--replay_ratio", default="0.3")
    parser.add_argument("--batch_size", type=int, default=12)
    parser.add_argument("--block_size", type=int, default=1024)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--depth", type=int, default=4, help="of the prefetch thread")
    parser.add_argument("--schedule", action="store_true", help="only the order of the sources")
    args = parser.parse_args(argv)
    if args.schedule:
        rows = [_schedule(sources) for sources in (2, 20, 200)]
        print(json.dumps(rows, indent=1))
        most = max(row["secs_per_million_windows"] for row in rows)
        return 0 if most <= _MOST_SECS_PER_MILLION else 1
    with tempfile.TemporaryDirectory() as directory:
        domain, general = args.domain, args.general
        if not domain and not general:
            domain, general = [f"{directory}/domain"], [f"{directory}/general"]
            for seed, (place,) in enumerate((domain, general), start=1):
                _random_data.write(Path(place), args.tokens // 2, seed=seed)
        mixed = mixture.build(
            domain=domain,
            general=general,
            domain_weights=(),
            general_weights=(),
            replay_ratio=args.replay_ratio,
        )
        made = loader.TrainLoader(
            mixed,
            block_size=args.block_size,
            batch_size=args.batch_size,
            seed=0,
        )
        plain, cpu_secs, threaded = [], [], []
        for round_ in range(args.rounds):
            first = round_ * args.batches
            cpu = time.process_time()
            plain.append(_plain(made, first, args.batches))
            cpu_secs.append(time.process_time() - cpu)
            threaded.append(_threaded(made, first, args.batches, args.depth))
    tokens = args.batches * args.batch_size * args.block_size
    rates = {
        "plain_tokens_per_sec": round(tokens / statistics.median(plain)),
        "prefetch_tokens_per_sec": round(tokens / statistics.median(threaded)),
        # What one undisturbed core does: on a busy machine the wall clock says less.
        "plain_tokens_per_cpu_sec": round(tokens / statistics.median(cpu_secs)),
    }
    shares = {one.key: str(one.share) for one in mixed.components}
    print(json.dumps({**rates, "cpus": os.cpu_count(), "shares": shares}, indent=1))
    return 0 if rates["plain_tokens_per_sec"] >= _LEAST else 1


def _schedule(sources: int) -> dict:
    """CPU seconds of the order of so many sources, whose sizes differ by up to a hundred."""
    draw = random.Random(sources)
    weights = [int(1e6 * 100 ** draw.random()) for _ in range(sources)]
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    measured = {}
    for name, windows in (("walk", range(0, 1_000_000, 1000)), ("resume", [_RESUMED_AT])):
        order = source_order.Schedule(shares)
        started = time.process_time()
        for window in windows:
            order[window]
        measured[name] = time.process_time() - started
    return {
        "sources": sources,
        "period": order.period,
        "secs_per_million_windows": round(measured["walk"], 3),
        f"secs_at_a_resume_after_{_RESUMED_AT}": round(measured["resume"], 3),
    }


def _plain(made: loader.TrainLoader, first: int, count: int) -> float:
    started = time.perf_counter()
    for step in range(first, first + count):
        made.batch(step)
    return time.perf_counter() - started


def _threaded(made: loader.TrainLoader, first: int, count: int, depth: int) -> float:
    with made.prefetch(first, depth) as batches:
        next(batches)
        started = time.perf_counter()
        for _ in range(count):
            next(batches)
        return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(errors.run(main))
