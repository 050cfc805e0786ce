"""docs/changing.md: its diffs apply to the code as it is, stay small, and do what they say."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL

from mypt_jax.runs import evaluations, layout

PAGE = (ROOT / "docs" / "changing.md").read_text(encoding="utf-8")
DIFFS = dict(re.findall(r"^## (.+?)$.*?^```diff\n(.*?)^```$", PAGE, re.M | re.S))
EVERYWHERE = {"configs/base.py", "mypt_jax/schema/keys.py"}
CHANGED = {
    "optim.optimizer": "sgd",
    "optim.schedule": "root",
    "log.trackers": "csv",
    "checkpoint.keep_every_steps": 2,
    "checkpoint.every_steps": 1,
    "num_steps": 6,
}


def test_ten_changes_are_shown():
    assert len(re.findall(r"^## ", PAGE, re.M)) == 10 and len(DIFFS) >= 6


@pytest.mark.parametrize("name", DIFFS)
def test_a_change_touches_few_files(name):
    touched = {*re.findall(r"^\+\+\+ b/(.+)$", DIFFS[name], re.M)} - EVERYWHERE
    assert 0 < len(touched) <= 3


def test_all_of_them_together_do_what_they_say(tmp_path, datasets, compile_cache):
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("configs", "data_pipeline", "mypt_jax"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name, diff in DIFFS.items():
        done = subprocess.run(
            ["git", "apply"], input=diff, cwd=tmp_path, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
    data = {"data.domain": datasets["domain"], "data.general": datasets["general"]}
    values = {**SMALL, **data, **CHANGED, "compile_cache": compile_cache, "workdir": "runs/base"}
    command = [sys.executable, "-m", "mypt_jax.main", "--config=configs/base.py:tiny"]
    command += [f"--config.{key}={value}" for key, value in values.items()]
    # What the house asks of every optimizer, schedule, key and package.
    for name in ("schema/test_together.py", "schema/test_keys.py", "test_optim.py"):
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    script = (
        "import io; from data_pipeline.readers import table; "
        "found = table.READERS['srt'].read(io.BytesIO(b'1\\n00:01,0 --> 00:02,0\\nHello.\\n'), "
        "path='a.srt'); print([one.text for one in found])"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    for line, said in (
        (command, "finished runs/base"),
        ([sys.executable, "-c", script], "['Hello.\\n']"),
        (tests, " passed"),
    ):
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 and said in done.stdout, done.stdout[-2000:] + done.stderr
    run = tmp_path / "runs" / "base"
    rows = [row for row in layout.metrics(str(run)) if "lr" in row]
    assert rows[-1]["lr"] == pytest.approx(1e-3 * (2 / 6) ** 0.5, rel=1e-5)
    assert len((run / "metrics.csv").read_text().splitlines()) == len(layout.metrics(str(run)))
    own = evaluations.read(layout.eval_file(str(run), 6))
    assert 0 < own.mean("general", "entropy") < 8.4
