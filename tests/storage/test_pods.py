"""Two hosts that share nothing but a bucket: the case of a TPU pod."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest
from bucket_emulator import emulator, upload
from conftest import ROOT, command
from several_processes import ends, start_processes

from mypt_jax.runs import layout
from mypt_jax.storage import bucket as buckets

STEPS = 60
MORE = {"num_steps": STEPS, "eval.every_steps": 30, "log.every_steps": 1}


class Hosts:
    """Starts runs on hosts: a host is a directory in which nothing is but what it fetched."""

    def __init__(self, tmp_path, url: str, environment: dict, overrides: dict):
        self.tmp_path, self.url, self.environment = tmp_path, url, environment
        self.overrides = overrides

    def start(self, stage: str, names: str, **more) -> list:
        directories = [self.tmp_path / name for name in names]
        for directory in directories:
            directory.mkdir()
        settings = self.overrides | {"workdir": f"{self.url}/runs/{stage}"} | more
        spec = str(ROOT / "configs" / f"{stage}.py:tiny")
        if len(names) > 1:
            return start_processes(
                spec,
                [settings] * len(names),
                120,
                directories=directories,
                environment=self.environment,
            )
        return [
            subprocess.Popen(
                command(spec, settings),
                cwd=directories[0],
                env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        ]

    def mirror(self, name: str, stage: str) -> str:
        return str(self.tmp_path / name / buckets.local_path(f"{self.url}/runs/{stage}"))


def stop_at(processes: list, step: int) -> None:
    """SIGTERM to the last process when the first one tells of a step; both must save and leave."""
    for line in processes[0].stdout:
        if line.startswith(f"step {step}/"):
            break
    processes[-1].send_signal(signal.SIGTERM)
    for code, _, stderr in ends(processes):
        assert code == 75, stderr[-3000:]


@pytest.mark.full
@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_two_hosts_train_with_a_bucket_between_them(kind, small, datasets, tmp_path):
    for module in ("fsspec", "gcsfs" if kind == "gs" else "s3fs", "moto"):
        pytest.importorskip(module)
    small |= MORE
    alone = subprocess.run(
        command("base", small | {"workdir": tmp_path / "alone" / "base"}), cwd=ROOT
    )
    assert alone.returncode == 0
    with emulator(kind) as (url, environment):
        for role in ("general", "domain"):
            upload(datasets[role], f"{url}/{role}", environment)
        small |= {f"data.{role}": f"{url}/{role}" for role in ("general", "domain")}
        hosts = Hosts(tmp_path, url, environment, small)
        stop_at(hosts.start("base", "ab"), 3)
        # The host of process 0 wrote and pushed; the other one has the data only.
        (first,) = layout.steps(hosts.mirror("a", "base"))
        assert 3 <= first < STEPS and not layout.steps(hosts.mirror("b", "base"))
        # Two machines that saw nothing go on, and are stopped again.
        processes = hosts.start("base", "cd")
        stop_at(processes, first + 3)
        assert layout.steps(hosts.mirror("d", "base")) == [first]  # what it resumed from
        # One process on a fifth machine ends the run.
        ((code, stdout, stderr),) = ends(hosts.start("base", "e"))
        assert code == 0, stderr[-3000:]
        assert "resumed" in stdout
        rows = layout.metrics(hosts.mirror("e", "base"))
        assert [row["step"] for row in rows] == list(range(STEPS + 1))
        one = layout.metrics(str(tmp_path / "alone" / "base"))
        for key in ("loss", "eval/general/loss"):
            np.testing.assert_allclose(
                [row[key] for row in rows if key in row],
                [row[key] for row in one if key in row],
                rtol=1e-5,
                err_msg=key,
            )
        # A child on two more, from the parent in the bucket.
        child = hosts.start("v3", "fg", init_from=f"{url}/runs/base", num_steps=6)
        (code, stdout, stderr), other = ends(child)
        assert (code, other[0]) == (0, 0), stderr[-3000:] + other[2][-3000:]
        assert "step 0 equals the parent's end" in stdout
        finished = os.path.join(hosts.mirror("f", "v3"), layout.FINISHED)
        with open(finished) as file:
            assert json.load(file)["step"] == 6
