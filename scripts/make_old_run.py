"""Makes a small run that stopped half-way, and its parent, for later versions to go on with.

    python scripts/make_old_run.py --out_dir=tests/data/run_d73f938

Runs the commands of the tree that it stands in: base to its end, v3 to STOP_STEP. A copy of v3 that
nothing stopped says in expected.json what the other must come to (tests/test_old_run.py).
"""

import argparse
import importlib.metadata
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREEMPTED = 75  # exit code of a run that saved and wants to be started again
STOP_STEP = 6
# {dataset: {source: documents}}: so few that v3 comes to a second epoch of each after its stop.
SOURCES = {
    "domain": {"manuals": 16, "laws": 8},
    "general": {"encyclopedia": 9},
}
# At this learning rate other windows or another dropout mask show in every loss.
OVERRIDES = {
    "model.n_layer": 2,
    "model.n_head": 2,
    "model.n_embd": 16,
    "model.block_size": 32,
    "model.dropout": 0.1,
    "batch_size": 8,
    "num_steps": 2 * STOP_STEP,
    "optim.peak_lr": 0.01,
    "optim.warmup_steps": 9,  # the rate still rises where v3 stops
    "data.domain": "data/domain",
    "data.general": "data/general",
    "eval.every_steps": STOP_STEP,
    "eval.windows": 24,
    "eval.min_windows": 4,
    "checkpoint.keep_last": 1,
    "log.every_steps": 2,
    "log.trackers": (),
}
PLACES = {
    "base": {"workdir": "runs/base"},
    "v3": {"workdir": "runs/v3", "init_from": "runs/base"},
}


def records(source: str, count: int):
    """Documents of a vocabulary of its own, some words of it far more frequent than others."""
    draw = random.Random(source)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 7))) for _ in range(40)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    for _ in range(count):
        lines = [" ".join(draw.choices(words, weights, k=8)) for _ in range(draw.randint(2, 4))]
        yield {"text": "\n".join(lines) + "\n", "source": source, "licence": "MIT"}


def call(arguments: list[str], *, cwd: Path, wanted: int = 0) -> None:
    """A command of this tree in `cwd`, so that all it writes down are relative paths."""
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    code = subprocess.run(command, cwd=cwd, env=environment).returncode
    if code != wanted:
        sys.exit(f"error: exit code {code}, wanted {wanted}: {' '.join(command)}")


def prepare(out_dir: Path) -> None:
    """The token datasets, data/domain and data/general."""
    for role, sources in SOURCES.items():
        texts = out_dir / f"{role}.jsonl"
        lines = [json.dumps(one) for name, n in sources.items() for one in records(name, n)]
        texts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script = str(ROOT / "scripts" / "prepare_weighted_dataset.py")
        options = [f"--source={role}:{texts.name}", f"--out_dir=data/{role}", "--workers=1"]
        options += ["--tokenizer=gpt2-4096", "--val_fraction=0.2"]
        call([script, *options], cwd=out_dir)
        texts.unlink()


def train(stage: str, *, cwd: Path, time_budget_secs: float = 0.0, wanted: int = 0) -> None:
    overrides = {**OVERRIDES, **PLACES[stage], "compile_cache": ""}
    overrides["time_budget_secs"] = time_budget_secs
    flags = [f"--config.{key}={value}" for key, value in overrides.items()]
    spec = f"--config={ROOT / 'configs' / stage}.py:tiny"
    call(["-m", "mypt_jax.main", spec, *flags], cwd=cwd, wanted=wanted)


def expected(run: Path) -> dict:
    """The command that goes on with v3 at the step that it stopped at, and how `run` has ended."""
    row = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    losses = ("loss", "eval/domain/loss", "eval/general/loss")
    return {
        "python": platform.python_version(),
        "jax": importlib.metadata.version("jax"),
        "overrides": {**OVERRIDES, **PLACES["v3"]},
        "stop_step": STOP_STEP,
        "final": {key: row[key] for key in ("step", *losses)},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out_dir", type=Path, required=True)
    out_dir = parser.parse_args(argv).out_dir
    if out_dir.exists():
        parser.error(f"{out_dir} exists: remove it or name another directory")
    out_dir.mkdir(parents=True)
    prepare(out_dir)
    train("base", cwd=out_dir)
    with tempfile.TemporaryDirectory() as directory:
        copy = shutil.copytree(out_dir, Path(directory) / "copy")
        train("v3", cwd=copy)
        ended = expected(copy / PLACES["v3"]["workdir"])
    # A budget that is used up before the first step allows one step for each start.
    for _ in range(STOP_STEP):
        train("v3", cwd=out_dir, time_budget_secs=0.001, wanted=PREEMPTED)
    text = json.dumps(ended, indent=1) + "\n"
    (out_dir / "expected.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
