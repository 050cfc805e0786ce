"""Measures the report on runs that it makes up: seconds of one command, and the bytes of its page.

    python scripts/bench_report.py                         # 50 runs of 2,000 rows
    python scripts/bench_report.py --runs=30 --out=DIR     # leaves them there, to look at

Exit code 1 above 4 s of CPU time or 3 MB.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _checkout  # noqa: F401

from data_pipeline import arguments, errors
from tests import run_factory

_MOST_SECS, _MOST_BYTES = 4.0, 3_000_000


def main(argv=None) -> int:
    """Prints one JSON object: the fastest of three starts, each a process of its own."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="an empty directory that stays")
    args = parser.parse_args(argv)
    if not 5 <= args.runs <= 65:
        raise errors.UserError(f"--runs={args.runs}: wanted 5 to 65, the guide's and a sweep's")
    with tempfile.TemporaryDirectory() as directory:
        root = args.out or Path(directory)
        run_factory.write_sweep(root, args.runs, rows=args.rows)
        command = [sys.executable, "-m", "mypt_jax.report", str(root), "--html"]
        secs, cpu_secs = [], []
        for _ in range(3):
            started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            secs.append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = (after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)
            cpu_secs.append(sum(spent))
        size = (root / "report.html").stat().st_size
    # What one undisturbed core does: on a busy machine the wall clock says less.
    found = {"secs": round(min(secs), 2), "cpu_secs": round(min(cpu_secs), 2), "page_bytes": size}
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({"runs": args.runs, "rows": args.rows, **found, **machine}, indent=1))
    return int(min(cpu_secs) > _MOST_SECS or size > _MOST_BYTES)


if __name__ == "__main__":
    sys.exit(errors.run(main))
