"""Several processes: what is compared, and two that train as one."""

import socket
import subprocess

import numpy as np
import pytest
from conftest import ROOT, SMALL, build_dataset, command
from several_processes import ends, error_lines, start_processes

from data_pipeline.errors import UserError
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import hosts
from mypt_jax.runs import layout

ALONE = {"coordinator": "", "num_processes": 0, "process_id": -1, "timeout_secs": 5.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_processes": 2}, "coordinator, process_id missing"),
        ({"coordinator": "a:1", "process_id": 0}, "num_processes missing"),
        ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "coordinator is 'a'"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "wanted 0 to 1"),
        ({"coordinator": "a:99999", "num_processes": 2, "process_id": 0}, "a:99999"),
    ],
)
def test_settings_that_contradict_each_other(settings, words):
    with pytest.raises(UserError, match=words):
        hosts.start(ALONE | settings)


def test_a_port_that_is_taken_is_named():
    """JAX's own service would end the process by a segmentation fault."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"coordinator": f"localhost:{port}", "num_processes": 2, "process_id": 0}
        with pytest.raises(UserError, match=f"port {port} cannot be used here"):
            hosts.start(ALONE | settings)


def test_processes_with_different_configs_end_with_one_line_each(small, tmp_path):
    small |= {"workdir": tmp_path / "run"}
    found = ends(start_processes("base", [small, small | {"optim.peak_lr": 0.5}], 60))
    for code, _, stderr in found:
        assert code == 2, stderr
        (line,) = error_lines(stderr)
        assert "process 1 has another config than process 0" in line
        assert "optim.peak_lr" in line and "0.5" in line
    assert not (tmp_path / "run").exists()


def test_processes_with_other_text_at_the_same_path_end_with_one_line_each(small, tmp_path):
    """They would train together, and book an evaluation's losses on documents they were not of."""
    directories = [tmp_path / name for name in "ab"]
    for seed, directory in enumerate(directories):
        build_dataset(directory / "data", {"encyclopedia": 60}, seed=seed)
    small |= {"workdir": tmp_path / "run", "data.domain": "data", "data.general": "data"}
    spec = str(ROOT / "configs" / "base.py:tiny")
    for code, _, stderr in ends(start_processes(spec, [small] * 2, 60, directories=directories)):
        assert code == 2, stderr
        (line,) = error_lines(stderr)
        assert "process 1 has other files than process 0 (evaluation windows: " in line
    assert not (tmp_path / "run").exists()


def test_a_process_that_never_comes_is_missed_in_time(small, tmp_path):
    small |= {"workdir": tmp_path / "run", "distributed.num_processes": 2}
    (process,) = start_processes("base", [small], 3)
    ((code, _, stderr),) = ends([process], timeout=120)
    assert code == 7, stderr
    (line,) = error_lines(stderr)
    assert "did not meet within 3 s" in line and "process 0 of 2 at" in line


@pytest.mark.full
def test_two_processes_train_as_one_and_one_resumes_what_two_saved(
    datasets, compile_cache, tmp_path
):
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        "checkpoint.keep_optimizer": True,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    ((code, _, stderr),) = ends(
        [subprocess.Popen(command("base", overrides | {"workdir": one / "base"}), cwd=ROOT)]
    )
    assert code == 0, stderr
    # Two processes to step 6, then one process from there to step 12.
    half = overrides | {"workdir": two / "base", "num_steps": 6}
    for code, _, stderr in ends(start_processes("base", [half, half], 120)):
        assert code == 0, stderr
    ((code, _, stderr),) = ends(
        [subprocess.Popen(command("base", overrides | {"workdir": two / "base"}), cwd=ROOT)]
    )
    assert code == 0, stderr
    losses = [
        {row["step"]: row["loss"] for row in layout.metrics(w / "base") if "loss" in row}
        for w in (one, two)
    ]
    assert losses[0].keys() == losses[1].keys() == {2, 4, 6, 8, 10, 12}
    np.testing.assert_allclose(
        list(losses[1].values()), list(losses[0].values()), rtol=1e-5
    )  # the same windows in the same order: an exchanged batch is off by more
    assert layout.record(one / "base")["data"] == layout.record(two / "base")["data"]
    # A domain stage of two processes starts from it.
    child = overrides | {"workdir": two / "v3", "init_from": two / "base"}
    (code, stdout, stderr), other = ends(start_processes("v3", [child, child], 120))
    assert (code, other[0]) == (0, 0), stderr + other[2]
    assert "step 0 equals the parent's end on 6 sources" in stdout
    assert restore.load_params(str(two / "v3")).step == 12
    # What only process 0 sees in the workdir ends both alike.
    changed = overrides | {"workdir": two / "base", "num_steps": 18, "model.dropout": 0.0}
    changed["model.norm_eps"] = 1e-4
    for code, _, stderr in ends(start_processes("base", [changed, changed], 60)):
        assert code == 2, stderr
        (line,) = error_lines(stderr)
        assert "model.norm_eps is 0.0001, but the run at" in line
    # Process 1 is silent, all but its transport.
    assert [line for line in other[1].splitlines() if "[Gloo]" not in line] == []
