"""What a verified checkpoint costs: a save as a share of a step, a restore as a share of a start.

    python scripts/bench_checkpoint.py                          base at :tiny, on data/demo
    python scripts/bench_checkpoint.py --size=tiny --config.model.n_embd=512

Runs the trainer as three processes: one saves at its end only, one goes on and saves every
EVERY steps, one resumes for a step. All figures are what the runs report of themselves, but
for the hashing alone, which is done again over the last checkpoint.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _checkout import ROOT

from data_pipeline import arguments, errors
from mypt_jax.monitor import goodput
from mypt_jax.runs import integrity, layout

STEPS = 20  # without a save, and as many with
EVERY = 5


def train(workdir: Path, size: str, num_steps: int, every_steps: int, more: list[str]) -> str:
    """What a trainer printed that ended at `num_steps`."""
    flags = {
        "workdir": workdir,
        "num_steps": num_steps,
        "optim.warmup_steps": 1,
        "eval.every_steps": 10_000,
        "eval.windows": 32,
        "log.every_steps": 1,
        "log.trackers": (),
        "checkpoint.every_steps": every_steps,
        "checkpoint.every_secs": 0.0,
        "checkpoint.keep_optimizer": True,
    }
    command = [sys.executable, "-m", "mypt_jax.main", f"--config=configs/base.py:{size}"]
    command += [f"--config.{key}={value}" for key, value in flags.items()] + more
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def measure(directory: Path, size: str, more: list[str]) -> dict:
    """Figures in seconds, bytes and shares."""
    workdir = directory / "run"
    train(workdir, size, STEPS, 10_000, more)
    steps = [row["step_secs"] for row in layout.metrics(str(workdir)) if "step_secs" in row]
    saving = train(workdir, size, 2 * STEPS, EVERY, more)
    text = re.search(r"each held training for ([\d.]+) s, then .* in ([\d.]+) s", saving)
    held_secs, background_secs = (float(value) for value in text.groups())
    resuming = train(workdir, size, 2 * STEPS + 1, 10_000, more)
    text = re.search(r"verified in ([\d.]+) s, restored in ([\d.]+) s", resuming)
    verified_secs, restored_secs = (float(value) for value in text.groups())
    start = json.loads((workdir / goodput.FILE).read_text())["starts"][-1]["secs"]
    start_secs = sum(start[key] for key in ("initialisation", "compilation", "restore"))
    last = Path(layout.step_dir(str(workdir), layout.steps(str(workdir))[-1]))
    begin = time.monotonic()
    reason = integrity.fault(str(last))
    hash_secs = time.monotonic() - begin
    if reason:
        raise errors.UserError(f"{last}: {reason}")
    step_secs = statistics.median(steps[2:])  # the first ones still wait for other things
    return {
        "checkpoint_bytes": sum(p.stat().st_size for p in last.rglob("*") if p.is_file()),
        "step_secs": step_secs,
        "save_held_secs": held_secs,
        "save_background_secs": background_secs,
        "hash_secs": hash_secs,
        "start_secs": start_secs,
        "verify_secs": verified_secs,
        "restore_secs": restored_secs,
        "save_held_share_of_step": held_secs / step_secs,
        "hash_share_of_save": hash_secs / (held_secs + background_secs),
        "verify_share_of_start": verified_secs / start_secs,
        "restore_share_of_start": restored_secs / start_secs,
    }


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__)
    parser.add_argument("--size", default="tiny", help="a size of configs/common.py")
    args, more = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory), args.size, more)
    for name, value in figures.items():
        shown = f"{value:,}" if name.endswith("_bytes") else f"{value:.4f}"
        print(f"{name:26} {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
