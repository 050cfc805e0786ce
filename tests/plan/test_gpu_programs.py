"""Programs for GPUs that are not here; scripts/test.sh --gpu_programs also compiles some."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from data_pipeline.errors import UserError
from mypt_jax.plan import asked, command, gpu


@pytest.mark.parametrize("name", gpu.GPUS)
def test_a_device_is_told_with_the_libraries_that_are_installed(monkeypatch, name):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.28.0.42")
    text = gpu.target_config(gpu.GPUS[name])
    assert "dnn_version_info { major: 9 minor: 28 patch: 0 }" in text
    assert f"core_count: {gpu.GPUS[name].cores}\n" in text
    assert text.count("{") == text.count("}")
    assert asked.gpus(f"{name}x8") == (name, 8)


@pytest.mark.parametrize("name", ["h100", "h100x0", "h100x100", "h900x8", "v5e:2x4", "xh100x8"])
def test_what_is_no_gpu(name):
    assert asked.gpus(name) is None


def test_a_missing_plugin_names_the_requirements(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install -r requirements-cuda.txt"):
        command.main(["--config=configs/v8.py:tiny", "--topology=h100x8"])


def test_a_name_that_is_neither_lists_the_gpus():
    with pytest.raises(UserError, match="GPUs: h100, a100, b200, l4, rtx4090, t4, with x and"):
        command.main(["--config=configs/v8.py:tiny", "--topology=h900x8"])


@pytest.mark.parametrize(
    ("name", "near"),
    [("v5:2x4", "v5e:2x4"), ("H100x8", "h100x8"), ("h100", "h100x8"), ("v6e-2x2", "v6e:2x2")],
)
def test_the_nearest_name_is_told(name, near):
    with pytest.raises(UserError, match=f"; did you mean {near}\\?$"):
        asked.topology(name)


def test_estimates_of_a_gpu_are_refused():
    with pytest.raises(UserError, match="there are none for h100x8: leave --explain"):
        command.main(["--config=configs/v8.py:tiny", "--topology=h100x8", "--explain"])


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "attention", "exchanged"),
    [
        ("h100x2", "__cudnn$fmhaSoftmax x 4", "all-gather"),
        ("a100x1", "__cudnn$fmhaSoftmax x 4", "none"),
        ("t4x1", "", "none"),  # no bfloat16 and no fused attention
    ],
)
def test_a_program_is_compiled_for_a_gpu_that_is_not_here(name, attention, exchanged):
    """Guards the way there, of which jax documents nothing."""
    pytest.importorskip("jax_cuda12_plugin")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypt_jax.plan", "--config=configs/v8.py:tiny"),
            *(f"--topology={name}", "--config.compile_cache="),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"\n  \w+ +16 +\d .* fits ", done.stdout)
    assert f"calls of libraries: {attention}" in done.stdout
    assert ("fmha" in done.stdout) == bool(attention)
    assert f"collectives, MiB to each device: {exchanged}" in done.stdout
