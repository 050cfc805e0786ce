"""What a run adds to its train steps on this machine: the loop around them, the start before them.

    python scripts/bench_run.py --loop       the training loop against the bare step, at :tiny
    python scripts/bench_run.py --start      process start to first step, first and second time

The loop and the bare step are timed in turn in one process, on the same state; their ratio depends
little on what else the machine does. Makes its own data.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from _checkout import ROOT

from data_pipeline import arguments, errors


def make_dataset(directory: Path) -> str:
    """A small token dataset of words from this repository's own documents."""
    from data_pipeline import document
    from data_pipeline.prepare import budget, build
    from data_pipeline.tokens import tokenizer

    text = "\n\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    texts = (
        document.Document(id=str(i), text=f"{i}\n{text}", source="docs", licence="MIT")
        for i in range(20)
    )
    build.build_dataset(
        texts,
        out_dir=directory,
        vocabulary=tokenizer.get("gpt2-4096"),
        settings=budget.Settings(seed=0, val_fraction=0.2, tokens_per_shard=1_000_000),
        recorded={"command": "bench_run"},
    )
    return str(directory)


def measure_loop(pairs: int, steps: int) -> dict:
    """Seconds per step of the training loop (batches, metrics, guards; evaluation and saving
    apart) and of the bare step, in turn on the same state."""
    import jax
    import numpy as np

    from configs import base
    from mypt_jax.distributed import sharding
    from mypt_jax.monitor import preemption
    from mypt_jax.schema import duration, validation
    from mypt_jax.train import loop as loops
    from mypt_jax.train import start as starts
    from mypt_jax.train import step

    config = base.get_config("tiny").to_dict()
    config["model"]["dropout"] = 0.0
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        data = make_dataset(Path(directory) / "data")
        config["workdir"] = str(Path(directory) / "run")
        config["data"] |= dict(domain=(), domain_weights=(), general=(data,), general_weights=())
        config["checkpoint"]["every_secs"] = 0.0
        validated = validation.validate(config)
        program = step.build(validated.config, eot=validated.tokenizer.eot)
        interrupts = preemption.Interrupts()
        loop, state, done, row = starts.open_loop(validated, program, interrupts, stack)
        # Evaluation, and the save before it, are left out.
        never = mock.patch.object(duration, "is_evaluation_due", lambda config, done: False)
        stack.enter_context(never)
        batch = sharding.global_batch(program.mesh, loop.loader.batch(0), config["batch_size"])
        control = loop.update._control._replace(lr=np.float32(1e-4))
        secs: dict[str, list[float]] = {"loop": [], "bare": []}
        for pair in range(-1, pairs):  # the first compiles
            loop.run.config["num_steps"] = done + steps
            begin = time.perf_counter()
            with contextlib.redirect_stdout(open(os.devnull, "w")):
                state, done, row = loops.train(loop, state, done, row)
            jax.block_until_ready(state)
            looped = (time.perf_counter() - begin) / steps
            begin = time.perf_counter()
            for _ in range(steps):
                state, figures = program.step(state, batch, control, {})
            jax.block_until_ready((state, figures))
            bare = (time.perf_counter() - begin) / steps
            if pair >= 0:
                secs["loop"].append(looped)
                secs["bare"].append(bare)
    ratios = [a / b for a, b in zip(secs["loop"], secs["bare"], strict=True)]
    return {
        "loop_over_bare": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "secs": {name: statistics.median(values) for name, values in secs.items()},
        "pairs": pairs,
        "steps_per_segment": steps,
    }


def measure_start() -> dict:
    """Seconds from process start until the first step is done at :tiny, twice, with one cache.

    The evaluation of step 0 is before it; what follows the first step does not count.
    """
    with tempfile.TemporaryDirectory() as directory:
        data = make_dataset(Path(directory) / "data")
        secs = []
        for attempt in ("first", "second"):
            command = [sys.executable, "-u", "-m", "mypt_jax.main", "--config=configs/base.py:tiny"]
            overrides = {
                "workdir": f"{directory}/{attempt}",
                "compile_cache": f"{directory}/xla",
                "data.general": data,
                "data.domain": "()",
                "num_steps": 2,
                "optim.warmup_steps": 1,
                "eval.windows": 16,
                "log.every_steps": 1,
                "log.trackers": (),
            }
            command += [f"--config.{key}={value}" for key, value in overrides.items()]
            start = time.perf_counter()
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    if line.startswith("step 1/"):
                        secs.append(time.perf_counter() - start)
            if process.returncode:
                raise errors.UserError(f"the {attempt} start ended with code {process.returncode}")
    return {"first_secs": secs[0], "second_secs": secs[1], "second_over_first": secs[1] / secs[0]}


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--loop", action="store_true")
    what.add_argument("--start", action="store_true")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="of each half of a pair")
    args = parser.parse_args(argv)
    if args.pairs < 1 or args.steps < 1:
        raise errors.UserError(f"--pairs {args.pairs}, --steps {args.steps}: wanted 1 or more")
    found = measure_loop(args.pairs, args.steps) if args.loop else measure_start()
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
