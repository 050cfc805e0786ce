"""Meshes: which sizes, what lies where, and that training does not depend on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from several_processes import ends, free_port

from configs import base
from data_pipeline.errors import UserError
from mypt_jax.distributed import sharding
from mypt_jax.model import parameters

ROOT = Path(__file__).resolve().parents[2]
GUIDE = {"fsdp": {"n_embd": 1280}, "tensor": {"n_head": 20, "vocab_size": 50_304}}


def resolve(sizes, *, devices, batch, slices=1, accumulation=1, dims=GUIDE):
    return sharding.resolve_mesh(
        **dict(zip(sharding.MESH_AXES, sizes, strict=True)),
        num_devices=devices,
        num_slices=slices,
        batch_size=batch,
        accumulation_steps=accumulation,
        dims=dims,
    )


@pytest.mark.parametrize(
    ("devices", "batch", "slices", "want"),
    [
        (1, 12, 1, (1, 1, 1)),
        (8, 96, 1, (1, 8, 1)),
        (4, 12, 1, (1, 4, 1)),
        (8, 12, 1, (1, 4, 2)),
        (16, 96, 2, (2, 8, 1)),  # parameters are split within a slice, data between slices
        (6, 12, 1, (3, 2, 1)),  # 1280 is not divisible by 3
    ],
)
def test_auto_gives_the_batch_what_it_can_use(devices, batch, slices, want):
    sizes, note = resolve((0, 1, 1), devices=devices, batch=batch, slices=slices)
    assert sizes == want
    assert bool(note) == (want[2] > 1)


def test_auto_names_the_faster_batch():
    _, note = resolve((0, 1, 1), devices=8, batch=12)
    assert "batch=96" in note and "\n" not in note
    # A batch of 96 in eight parts of 12: in twelve parts of 8 every device has a window.
    _, note = resolve((0, 1, 1), devices=8, batch=12, accumulation=8)
    assert "accumulation_steps=12" in note and "batch=" not in note
    with pytest.raises(UserError, match="batch=672 "):  # 8 x 84, and 84 = 7 x 12
        resolve((0, 1, 1), devices=7, batch=12, accumulation=8)
    with pytest.raises(UserError, match="batch=768 "):  # not 256 x 96
        resolve((0, 1, 1), devices=256, batch=96)


def test_every_width_that_tensor_splits_is_checked():
    """The gated MLP's own width, 256 here, is split as well."""
    config = base.get_config("tiny").to_dict()["model"] | {
        "n_embd": 96,
        "n_head": 3,
        "mlp": "gated",
    }
    with pytest.raises(UserError, match="mlp_width 256 is not divisible by mesh.tensor 3"):
        resolve((1, 1, 3), devices=3, batch=12, dims=parameters.split_dims(config))
    config |= {"n_head": 4, "n_kv_head": 2}
    with pytest.raises(UserError, match="n_kv_head 2 is not divisible by mesh.tensor 4; .*data=0"):
        resolve((1, 1, 4), devices=4, batch=12, dims=parameters.split_dims(config))


@pytest.mark.parametrize(
    ("sizes", "want"),
    [((-1, 1, 1), (8, 1, 1)), ((0, 4, 1), (2, 4, 1)), ((0, -1, 2), (1, 4, 2)), ((2, 2, 2),) * 2],
)
def test_minus_one_fills(sizes, want):
    assert resolve(sizes, devices=8, batch=96) == (want, "")


@pytest.mark.parametrize(
    ("sizes", "devices", "batch", "slices", "words"),
    [
        ((3, 1, 1), 8, 96, 1, "3 x 1 x 1 = 3, but there are 8 devices"),
        ((-1, -1, 1), 8, 96, 1, "at most one -1; .*mesh.data=0"),
        ((8, 1, 1), 8, 12, 1, "12 windows at a time .* not divisible by data x fsdp = 8 x 1; 8"),
        ((1, 1, 8), 8, 12, 1, "n_head 20 is not divisible by mesh.tensor 8; .*mesh.data=0"),
        ((1, 3, 1), 3, 12, 1, "n_embd 1280 is not divisible by mesh.fsdp 3; .*mesh.data=0"),
        ((1, 16, 1), 16, 96, 2, "data 1 is not divisible by the 2 slices"),
        ((0, 1, 1), 7, 12, 1, "7 devices fit neither 12 windows at a time nor n_head 20.*batch=84"),
    ],
)
def test_meshes_that_do_not_fit(sizes, devices, batch, slices, words):
    with pytest.raises(UserError, match=words) as caught:
        resolve(sizes, devices=devices, batch=batch, slices=slices)
    assert "\n" not in str(caught.value)


def test_rows_find_their_windows_however_hosts_lie_on_the_mesh():
    """Else losses would be booked on the windows, and so the sources, of another host."""
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "tests/rows_worker.py", port, str(index)],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for index, (code, out, err) in enumerate(ends(processes, timeout=120)):
        assert code == 0, err
        found = json.loads(out.splitlines()[-1])
        assert found["rows"] == [[0, 1, 4, 5], [2, 3, 6, 7]][index]
        assert found["batch"] == list(range(8))
        assert found["losses"] == list(range(13))


def test_a_mesh_axis_splits_one_dim_of_an_array():
    assert sharding.partition_spec(("embed", "qkv")) == sharding.P("fsdp", "tensor")
    activation = sharding.partition_spec(("batch", "length", "embed"))
    assert activation == sharding.P(("data", "fsdp"), None, None)


def run_worker(directory: Path, compile_cache: str, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "mesh_worker.py"), str(directory), *arguments],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "8",
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": compile_cache,
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((directory / "result.json").read_text())


@pytest.fixture(scope="module")
def on_8_devices(tmp_path_factory, compile_cache) -> dict:
    return run_worker(tmp_path_factory.mktemp("mesh"), compile_cache)


@pytest.fixture(scope="module")
def slow_on_8_devices(tmp_path_factory, compile_cache) -> dict:
    return run_worker(tmp_path_factory.mktemp("mesh"), compile_cache, "slow")


def test_every_mesh_trains_alike(on_8_devices):
    losses = on_8_devices["losses"]
    assert len(losses["one"]) == 20 and losses["one"][-1] < losses["one"][0] - 0.5
    assert len(losses) == 5  # one with weights that are not gathered
    for name in losses:
        np.testing.assert_allclose(losses[name], losses["one"], rtol=1e-5, err_msg=name)
    assert all(on_8_devices["same_batches"].values())
    assert on_8_devices["same_initialisation"]


def test_the_head_is_gathered_once_and_its_gradient_reduced_once(on_8_devices):
    """Not in each of the four chunks of the loss."""
    found = on_8_devices["of_the_head"]
    assert found["fsdp"]["all-gather"] == found["fsdp"]["reduce-scatter"] == 1
    assert "reduce-scatter" not in found["fsdp, weights in slices"]
    assert "all-gather" not in found["data"] and found["one"] == {}


def test_accumulation_equals_the_large_batch_on_a_mesh(on_8_devices):
    in_parts, at_once = on_8_devices["accumulated"]
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-5)


def test_a_teacher_teaches_alike_on_every_mesh(on_8_devices):
    """Sums and counts add exactly; replay rows are taken on the device that has them."""
    taught = on_8_devices["taught"]
    one = taught["one"]
    counts = one["kl/replay"][1::2]
    assert counts == [2, 3] and one["loss/domain"][1::2] == [10, 9]
    assert all(value > 0.01 for value in one["kl/replay"][0::2])
    for name in ("parts", "all"):
        for figure, values in taught[name].items():
            np.testing.assert_allclose(values, one[figure], rtol=2e-5, err_msg=f"{name} {figure}")


def test_fsdp_holds_an_eighth(on_8_devices):
    total = on_8_devices["state_bytes"]
    assert max(on_8_devices["fsdp_bytes"]) <= total / 8 + 0.02 * total


def test_a_checkpoint_of_any_mesh_restores_on_any_other(on_8_devices):
    assert on_8_devices["restore_faults"] == []


@pytest.mark.parametrize("name", ["one", "data", "fsdp", "all"])
def test_the_whole_state_is_donated(on_8_devices, name):
    found = on_8_devices["donation"][name]
    assert found["alias"] == found["state"]


@pytest.mark.full
def test_splash_is_mapped_over_the_mesh(slow_on_8_devices):
    np.testing.assert_allclose(*slow_on_8_devices["splash"].values(), rtol=1e-5)


@pytest.mark.full
def test_the_stage_file_starts_on_8_devices_as_it_stands(slow_on_8_devices):
    found = slow_on_8_devices["stage_file"]
    assert found["mesh"] == [1, 4, 2]
    (note,) = found["notes"]
    assert "batch=96" in note
