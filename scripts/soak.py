"""Kills the tiny chain at random moments until it ends, and compares every byte with a quiet run.

    python scripts/soak.py --kills 25
    python scripts/soak.py --kills 25 --config.model.n_layer=2 --config.model.n_embd=64

Both chains are run by scripts/run_chain.py with the same overrides, one of them SIGKILLed with its
trainer after a random time, again and again. Compared are, of every stage: parameters, optimizer
state and counters, the state of data and guards, every metrics row but for its measured fields, and
the lineage. The runs of a quiet chain are kept in --dir and used again.
"""

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _checkout import ROOT

from data_pipeline import arguments, errors
from mypt_jax.runs import layout

STAGES = ("base", "v3", "v5", "v7", "v8")
MEASURED = ("_secs", "_per_sec", "run_id", "mfu", "input_wait_share", "device_memory_bytes")
# What differs between two chains in two places at two times, besides what a clock measures.
NOT_COMPARED = ("run_id", "created", "path", "config", "from")
SHORT = {  # the tiny chain with smaller batches, saved often
    "model.block_size": 64,
    "batch_size": 8,
    "eval.windows": 64,
    "eval.every_steps": 15,
    "checkpoint.every_steps": 7,
    "checkpoint.keep_optimizer": True,
    "log.trackers": (),
    "log.every_steps": 1,
}


def start(runs: Path, flags: list[str], log: Path) -> subprocess.Popen:
    """The chain in a process group of its own, so that a kill reaches the trainer, too."""
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "scripts/run_chain.py", "--size=tiny", f"--runs_dir={runs}", *flags],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the chain and to its trainer, which leads a group of its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [*map(int, children), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def state_bytes(workdir: Path, step: int) -> dict[str, bytes]:
    import jax  # here, so that --help waits for none of it

    from mypt_jax.checkpoint import restore

    tree = {
        "params": restore.restore_params(str(workdir), step, None),
        "rest": restore.restore_rest(str(workdir), step),
    }
    return {
        jax.tree_util.keystr(path): f"{x.dtype} {x.shape} ".encode() + x.tobytes()
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def comparable(value):
    """JSON-able data without names of places and times."""
    if isinstance(value, dict):
        kept = {k: comparable(v) for k, v in value.items() if k not in NOT_COMPARED}
        return {k: v for k, v in kept.items() if not k.endswith(MEASURED)}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def differences(quiet: Path, shaken: Path) -> list[str]:
    """What differs between two runs of one stage; empty when they are equal."""
    from mypt_jax.checkpoint import restore

    step, other = (layout.finished(str(path))["step"] for path in (quiet, shaken))
    if step != other:
        return [f"{shaken}: ended at step {other}, not {step}"]
    found = []
    ours, theirs = state_bytes(shaken, step), state_bytes(quiet, step)
    found += [
        f"{shaken}: {name} differs"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    rows, quiet_rows = (comparable(layout.metrics(str(path))) for path in (shaken, quiet))
    if len(rows) != len(quiet_rows):
        found.append(f"{shaken}: {len(rows)} metrics rows, not {len(quiet_rows)}")
    for row, wanted in zip(rows, quiet_rows, strict=False):
        keys = [key for key in {*row, *wanted} if row.get(key) != wanted.get(key)]
        if keys:
            found.append(f"{shaken}: row of step {row['step']} differs in {sorted(keys)}")
    metas = [restore.read_meta(layout.step_dir(str(p), step)) for p in (shaken, quiet)]
    for key in ("data", "guard"):
        if metas[0][key] != metas[1][key]:
            found.append(f"{shaken}: {key} state differs")
    if comparable(layout.record(str(shaken))) != comparable(layout.record(str(quiet))):
        found.append(f"{shaken}: lineage differs")
    return found


def shake(
    runs: Path, flags: list[str], *, kills: int, stage_secs: float, draw: random.Random, log: Path
) -> int:
    """Runs a chain to its end and kills it at most `kills` times; returns how often it did.

    The moments are spread over a little more than a stage: start, training, saves, ends.
    """
    hits = 0
    process = start(runs, flags, log)
    while hits < kills:
        try:
            code = process.wait(timeout=draw.uniform(0.02, 1.3) * stage_secs)
        except subprocess.TimeoutExpired:
            kill(process)
            hits += 1
            done = sum(layout.finished(str(runs / "tiny" / stage)) is not None for stage in STAGES)
            print(f"{runs.name}: kill {hits}, {done} of {len(STAGES)} stages finished", flush=True)
            process = start(runs, flags, log)
            continue
        break
    if code := process.wait():
        raise errors.UserError(f"the chain ended with exit code {code}; see {log}")
    return hits


def compare(quiet: Path, shaken: Path) -> int:
    """Prints what differs between two chains, and the shaken one's goodput; returns how much."""
    found, arrays, rows = [], 0, 0
    for stage in STAGES:
        found += differences(quiet / stage, shaken / stage)
        finished = layout.finished(str(shaken / stage))
        arrays += len(state_bytes(shaken / stage, finished["step"]))
        rows += len(layout.metrics(str(shaken / stage)))
        starts, share = finished["goodput"]["starts"], finished["goodput"]["goodput"]
        print(f"{shaken.parent.name}/{stage}: {starts} starts, goodput {share:.0%}")
    for line in found:
        print(line)
    print(f"{arrays} arrays and {rows} metrics rows compared, {len(found)} differences", flush=True)
    return len(found)


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, default=ROOT / "runs" / "soak")
    args, more = parser.parse_known_args(argv)
    flags = [*(f"--config.{key}={value}" for key, value in SHORT.items()), *more]
    args.dir.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    quiet = args.dir / "quiet"
    if start(quiet, flags, args.dir / "quiet.log").wait():
        raise errors.UserError(f"the quiet chain failed; see {args.dir / 'quiet.log'}")
    walls = [layout.finished(str(quiet / "tiny" / s))["goodput"]["wall_secs"] for s in STAGES]
    draw, hits, differing, chains = random.Random(args.seed), 0, 0, 0
    while hits < args.kills:  # a chain that ends before is followed by another one
        shaken = args.dir / f"shaken_{args.seed}_{chains}"
        if shaken.exists():
            raise errors.UserError(f"{shaken} exists: remove it or choose another --seed")
        hits += shake(
            shaken,
            flags,
            kills=args.kills - hits,
            stage_secs=statistics.median(walls),
            draw=draw,
            log=shaken.with_suffix(".log"),
        )
        chains += 1
        differing += compare(quiet / "tiny", shaken / "tiny")
    print(
        f"{hits} kills in {chains} chains of {len(STAGES)} stages, "
        f"{time.monotonic() - begin:.0f} s: {differing} differences"
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
