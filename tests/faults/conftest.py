"""Trainers as real processes that tests may signal, kill, freeze and break (zygote.py)."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT, SMALL, made_once

from mypt_jax.checkpoint import restore
from mypt_jax.runs import integrity, layout

FAULTS = {
    **SMALL,
    "log.every_steps": 1,
    "checkpoint.every_steps": 4,
    "checkpoint.keep_optimizer": True,  # so that it can be compared at the end
    "model.dropout": 0.1,
}
MEASURED = ("_secs", "_per_sec", "run_id", "_share", "_bytes", "mfu")
PATIENCE_SECS = 400  # this machine may be busy


class Trainer:
    """One process of the trainer."""

    def __init__(self, pid: int, request: dict):
        self.pid = pid
        self.request = request

    @property
    def stdout(self) -> str:
        return Path(self.request["stdout"]).read_text()

    @property
    def stderr(self) -> str:
        return Path(self.request["stderr"]).read_text()

    @property
    def last_line(self) -> str:
        return self.stderr.strip().splitlines()[-1]

    def is_running(self) -> bool:
        return not os.path.exists(self.request["end"])

    def send(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def wait(self) -> int:
        """Exit code; minus the signal that killed it."""
        _until(lambda: not self.is_running(), f"process {self.pid} to end", self)
        return int(Path(self.request["end"]).read_text())

    def wait_until(self, condition, what: str) -> None:
        """Until something has happened that it does while it runs."""
        _until(lambda: condition() or not self.is_running(), what, self)
        assert condition(), what

    def wait_for(self, text: str) -> None:
        """Until it has printed `text`."""
        _until(lambda: text in self.stdout + self.stderr or not self.is_running(), repr(text), self)
        assert text in self.stdout + self.stderr, self.stdout + self.stderr

    def wait_for_step(self, step: int) -> None:
        self.wait_for(f"step {step}/")


def _until(condition, what: str, trainer: Trainer) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}: {trainer.stdout}{trainer.stderr}"
        time.sleep(0.01)


class Zygote:
    def __init__(self, directory: Path):
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started: list[Trainer] = []

    def start(
        self,
        stage: str,
        overrides: dict,
        *,
        faults=None,
        environment=None,
        directory="",
        console="",
    ) -> Trainer:
        """Starts a trainer. `faults`: {function of faults.py: arguments}; in `directory`;
        `console`: a file, pipe or terminal to print to, which the test reads by itself."""
        spec = stage if "/" in stage else f"configs/{stage}.py:tiny"
        name = self._directory / uuid.uuid4().hex[:8]
        request = {
            "flags": [
                f"--config={spec}",
                *(f"--config.{key}={value}" for key, value in overrides.items()),
            ],
            "faults": faults or {},
            "environment": environment or {},
            "directory": str(directory),
            **{key: f"{name}.{key}" for key in ("stdout", "stderr", "end")},
        }
        if console:
            request |= {"stdout": str(console), "stderr": str(console)}
        for key in ("stdout", "stderr"):
            Path(request[key]).touch()
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        trainer = Trainer(int(self._process.stdout.readline()), request)
        self.started.append(trainer)
        return trainer

    def close(self) -> None:
        for trainer in self.started:
            if trainer.is_running():
                trainer.send(signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("trainers"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def overrides(datasets, compile_cache) -> dict:
    return {
        **FAULTS,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
    }


@pytest.fixture
def start(zygote, overrides):
    """start(workdir, stage="base", faults=..., environment=..., directory=..., console=...,
    **{"key": value})"""

    def begin(
        workdir, stage="base", faults=None, environment=None, directory="", console="", **more
    ):
        return zygote.start(
            stage,
            {**overrides, "workdir": workdir, **more},
            faults=faults,
            environment=environment,
            directory=directory,
            console=console,
        )

    return begin


@pytest.fixture(scope="session")
def undisturbed(zygote, overrides, shared) -> Path:
    """The run that every disturbed one must equal."""
    workdir = shared / "undisturbed"
    with made_once(workdir) as is_missing:
        if is_missing:
            trainer = zygote.start("base", {**overrides, "workdir": workdir})
            assert trainer.wait() == 0, trainer.stderr
    return workdir


def state_bytes(workdir: Path, step: int) -> dict[str, bytes]:
    """Every parameter, optimizer and counter array of a verified step."""
    tree = {
        "params": restore.restore_params(str(workdir), step, None),
        "rest": restore.restore_rest(str(workdir), step),
    }
    return {
        jax.tree_util.keystr(path): f"{x.dtype} {x.shape} ".encode() + x.tobytes()
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def unmeasured(workdir: Path) -> list[dict]:
    """Metrics rows without what a clock decides."""
    return [
        {key: value for key, value in row.items() if not key.endswith(MEASURED)}
        for row in layout.metrics(str(workdir))
    ]


def assert_equal_runs(disturbed: Path, undisturbed: Path) -> None:
    """Same final step, same rows, same bytes of all state, same data position."""
    step = layout.finished(str(undisturbed))["step"]
    assert layout.finished(str(disturbed))["step"] == step
    assert unmeasured(disturbed) == unmeasured(undisturbed)
    ours, theirs = state_bytes(disturbed, step), state_bytes(undisturbed, step)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for key in ("data", "guard"):
        assert meta(disturbed, step)[key] == meta(undisturbed, step)[key]


def final_losses(workdir: Path) -> np.ndarray:
    """Training and evaluation losses of the last row."""
    row = layout.metrics(str(workdir))[-1]
    return np.array([row["loss"], row["eval/general/loss"], row["eval/domain/loss"]])


def meta(workdir: Path, step: int) -> dict:
    return restore.read_meta(layout.step_dir(str(workdir), step))


def valid_steps(workdir: Path) -> list[int]:
    steps = layout.steps(str(workdir))
    return [step for step in steps if not integrity.fault(layout.step_dir(str(workdir), step))]
