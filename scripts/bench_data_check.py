"""What it costs to know that the data of a run is what it was.

    python scripts/bench_data_check.py --gigabytes=3
    python scripts/bench_data_check.py --data=data/multilingual_1.5B_wiki90

Reads a dataset as a start does: from the disk, again, and remembered. Then starts base at :tiny on
it as a process, once with nothing remembered and once with all of it, to the end of the first save.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _checkout
import _random_data

from data_pipeline import arguments, errors
from data_pipeline.tokens import check, shards

_LARGE = {"tokens_per_shard": 100_000_000}


def main(argv=None) -> int:
    """Prints one JSON object, in seconds and GB."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--data", type=Path, help="a dataset; without it one is generated")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="of the generated one")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CACHE_HOME"] = f"{directory}/cache"
        data = args.data or Path(directory, "data")
        if args.data is None:
            tokens = int(args.gigabytes * 1e9 / 2 / 1.05)  # two bytes each; a twentieth more is val
            _random_data.write(data, tokens, seed=1, vocabulary="gpt2-4096", **_LARGE)
            time.sleep(3)  # what was written just now is not remembered
        dataset = shards.open_dataset(data)
        found = {"gigabytes": round(_check(dataset)[1] / 1e9, 3), "cpus": os.cpu_count()}
        for name in ("from_the_disk", "from_memory", "remembered"):
            if name != "remembered":
                _forget(Path(directory, "cache"))
            if name == "from_the_disk":
                _evict(data)
            found[f"check_{name}_secs"] = round(_check(dataset)[0], 3)
        _start(data, Path(directory, "first"), Path(directory, "xla"))  # fills XLA's cache
        for name in ("unknown", "known"):
            if name == "unknown":
                _forget(Path(directory, "cache"))
                _evict(data)
            run = Path(directory, name)
            secs, line = _start(data, run, Path(directory, "xla"))
            found[f"start_{name}_secs"] = round(secs, 2)
            found[f"start_{name}_says"] = line
    print(json.dumps(found, indent=1))
    return 0


def _check(dataset: shards.Dataset) -> tuple[float, int]:
    """(seconds, bytes) of a check."""
    begin = time.perf_counter()
    splits = [(one, split) for one in dataset.sources.values() for split in shards.SPLITS]
    checked = check.Check(splits)
    checked.start()
    checked.wait()
    return time.perf_counter() - begin, checked.nbytes


def _start(data: Path, workdir: Path, compiled: Path) -> tuple[float, str]:
    """(seconds of a process that trains and saves one step, what it says of the data)."""
    flags = {
        "workdir": workdir,
        "data.general": data,
        "data.general_weights": "()",
        "data.domain": "()",
        "data.tokenizer": shards.open_dataset(data).tokenizer,
        "compile_cache": compiled,
        "num_steps": 1,
        "optim.warmup_steps": 0,
        "eval.windows": 8,
        "log.trackers": "()",
    }
    command = [sys.executable, "-m", "mypt_jax.main", "--config=configs/base.py:tiny"]
    command += [f"--config.{key}={value}" for key, value in flags.items()]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=_checkout.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - begin, re.findall("^data: .*", done.stdout, re.M)[0]


def _forget(cache: Path) -> None:
    for file in cache.rglob("*.json"):
        file.unlink()


def _evict(data: Path) -> None:
    """Takes the files out of the system's memory, as far as it lets go of them."""
    for path in data.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    sys.exit(errors.run(main))
