"""The mean of the parameters over the last share of a run is its result."""

import jax
import numpy as np
import pytest
from conftest import SMALL, train

from configs import base
from data_pipeline.batches.batch import Batch
from mypt_jax.checkpoint import restore
from mypt_jax.runs import layout, lineage
from mypt_jax.train import averaging, step

STEPS = {"num_steps": 4, "eval.every_steps": 3, "optim.average_ratio": 0.5}  # of 3 and 4


def test_the_result_is_the_mean_of_the_updates_asked_for():
    config = base.get_config("tiny").to_dict()
    config["model"] |= dict(vocab_size=64, block_size=16, n_layer=1, n_embd=16, n_head=2)
    config |= {"batch_size": 4, "num_steps": 6}
    config["optim"] |= {"average_ratio": 0.5, "warmup_steps": 1}
    program = step.build(config, eot=63, devices=jax.devices()[:1])
    control = step.Control(step.dropout_key(0, 0), *np.array([1e-2, np.inf, 0], np.float32))
    control = control._replace(average_from=np.int32(averaging.begin_of(config)))
    state, seen = program.init(), []
    rows = np.random.default_rng(0).integers(0, 64, (6, 4, 17)).astype(np.int32)
    for done in range(6):
        batch = Batch(rows[done], np.ones(4, np.int32))
        state, _ = program.step(state, batch, control, {})
        seen.append(jax.tree.map(np.array, state["params"]))
        if done < 3:  # nothing is averaged as yet
            same = jax.tree.map(np.array_equal, state["average"], seen[-1])
            assert all(jax.tree.leaves(same))
    found = averaging.result(state)
    want = jax.tree.map(lambda *x: np.mean(np.stack(x), 0), *seen[3:])
    for a, b in zip(jax.tree.leaves(found["params"]), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    same = jax.tree.map(np.array_equal, found["average"], seen[-1])
    assert all(jax.tree.leaves(same)), "the last parameters stay beside their mean"


@pytest.fixture(scope="module")
def averaged(datasets, compile_cache, tmp_path_factory):
    """(directory of a finished base with a mean, its overrides)."""
    root = tmp_path_factory.mktemp("averaged")
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        **STEPS,
    }
    end = train("base", {**overrides, "workdir": root / "base"})
    assert end.returncode == 0, end.stderr
    return root / "base", overrides


def test_scores_of_the_mean_stand_beside_those_of_the_run(averaged):
    path, _ = averaged
    rows = {row["step"]: row for row in layout.metrics(path) if layout.has_eval(row)}
    assert "average/general/loss" in rows[3] and "raw/general/loss" not in rows[3]
    assert not any(key.startswith(("average/", "raw/")) for key in rows[0])
    assert layout.finished(path)["eval"].keys() == layout.losses(rows[4]).keys()
    assert layout.record(path)["average_from"] == 2


def test_a_child_starts_from_the_mean_without_knowing(averaged, tmp_path):
    path, overrides = averaged
    child = {**overrides, "optim.average_ratio": 0.0, "init_from": path, "num_steps": 2}
    end = train("v3", {**child, "workdir": tmp_path / "v3"})
    assert end.returncode == 0 and "step 0 equals the parent's end" in end.stdout, end.stderr


def test_a_resumed_mean_is_the_same_to_the_last_bit(averaged, tmp_path):
    path, overrides = averaged
    stopped = {**overrides, "workdir": tmp_path / "base", "time_budget_secs": 0.001}
    while (end := train("base", stopped)).returncode == 75:
        pass
    assert end.returncode == 0, end.stderr
    digests = [layout.finished(where)["params_sha256"] for where in (path, tmp_path / "base")]
    assert digests[0] == digests[1]
    params = restore.restore_params(str(path), 4, None)
    assert lineage.params_sha256(params) == digests[0]


def test_what_is_averaged_is_fixed_once_it_has_begun(averaged, tmp_path):
    _, overrides = averaged
    stopped = {**overrides, "workdir": tmp_path / "base", "time_budget_secs": 0.001}
    # Not begun at step 1: with other lengths it may begin elsewhere, after step 1 at last.
    assert train("base", {**stopped, "num_steps": 8}).returncode == 75
    assert train("base", {**stopped, "num_steps": 2}).returncode in (0, 75)
    for changes in ({"num_steps": 8}, {"num_steps": 2, "optim.average_ratio": 0.0}):
        end = train("base", {**stopped, **changes})
        assert end.returncode == 2 and "average" in end.stderr.splitlines()[-1], end.stderr
