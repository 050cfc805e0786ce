"""A run of an earlier version goes on, ends as it would have ended, and has children.

tests/data/run_<commit> was made by scripts/make_old_run.py of that commit.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, command

OLD = Path(__file__).parent / "data" / "run_d73f938"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
LOSSES = ("loss", "eval/domain/loss", "eval/general/loss")
NATS = 1e-4  # the same computation, by another version of XLA or on another processor


def call(arguments: list[str], directory: Path) -> str:
    """Runs a command where the old run lies, whose paths are relative; returns its stdout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        arguments, cwd=directory, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(workdir: Path) -> list[dict]:
    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def train(compile_cache):
    """train(stage, directory, **{"key": value}): the command that the old run was started with."""

    def start(stage: str, directory: Path, **more) -> str:
        overrides = {**EXPECTED["overrides"], "compile_cache": compile_cache, **more}
        return call(command(f"{ROOT}/configs/{stage}.py:tiny", overrides), directory)

    return start


@pytest.fixture(scope="module")
def resumed(train, tmp_path_factory) -> tuple[Path, str]:
    """(a copy of the old run in which its v3 has gone on to its end, what that printed)."""
    directory = tmp_path_factory.mktemp("old") / "copy"
    shutil.copytree(OLD, directory)
    return directory, train("v3", directory)


def test_an_old_run_goes_on_where_it_stopped(resumed):
    directory, stdout = resumed
    step = EXPECTED["stop_step"]
    assert f"resumed runs/v3 at step {step}" in stdout
    before, after = rows(OLD / "runs/v3"), rows(directory / "runs/v3")
    assert max(row["step"] for row in before) < step  # that step's evaluation was still to come
    assert after[: len(before)] == before
    # Its config says none; this version's stage files leave it to the device.
    assert "remat=auto: none, as before" in stdout
    record = json.loads((directory / "runs/v3/lineage.json").read_text(encoding="utf-8"))
    assert record["numerics"]["remat"] == "none"
    assert all(row["step"] >= step for row in after[len(before) :])


def test_an_old_run_ends_as_it_would_have_ended(resumed):
    """The same windows, dropout masks, rates and optimizer state: another of one shows here."""
    directory, _ = resumed
    last, final = rows(directory / "runs/v3")[-1], EXPECTED["final"]
    assert last["step"] == final["step"]
    assert {key: last[key] for key in LOSSES} == {
        key: pytest.approx(final[key], rel=0, abs=NATS) for key in LOSSES
    }


@pytest.mark.parametrize(("parent", "stage"), [("base", "v7"), ("v3", "v5")])
def test_an_old_run_is_a_parent(resumed, train, parent, stage):
    """base was finished by the old version, v3 was begun by it and finished by this one."""
    directory, _ = resumed
    child = {"workdir": f"runs/{stage}", "init_from": f"runs/{parent}"}
    stdout = train(stage, directory, num_steps=2, **child, **{"optim.warmup_steps": 1})
    assert "step 0 equals the parent's end on 3 sources" in stdout
    # The lineage goes on with the windows that it was begun with: nothing is kept for the report.
    record = json.loads((directory / "runs" / stage / "lineage.json").read_text())
    assert record["eval_plan"] == 1
    assert not [key for row in rows(directory / "runs" / stage) for key in row if "report/" in key]
    first, end = rows(directory / "runs" / stage)[0], rows(directory / "runs" / parent)[-1]
    assert first["step"] == 0
    assert {key: first[key] for key in LOSSES[1:]} == {
        key: pytest.approx(end[key], rel=0, abs=NATS) for key in LOSSES[1:]
    }


def test_the_report_reads_an_old_run(tmp_path):
    directory = shutil.copytree(OLD, tmp_path / "copy")
    text = call([sys.executable, "-m", "mypt_jax.report", "runs"], directory)
    assert "base" in text and "v3" in text
