"""A stage that trains adapters: small checkpoints, the same bytes after a kill, a run like any."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

from data_pipeline.errors import UserError
from mypt_jax import continuation
from mypt_jax.checkpoint import restore
from mypt_jax.runs import layout, lineage
from mypt_jax.train import update
from tests.family_factory import run_stage

STEPS = {
    "adapter.rank": 2,
    "num_steps": 4,
    "eval.every_steps": 2,
    "checkpoint.every_steps": 2,
    "checkpoint.keep_optimizer": True,
    "model.dropout": 0.1,
    "objective.replay": "kl",
    "objective.teacher": "parent",
}


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_at(monkeypatch, number: int):
    """The process ends before an update."""
    original = update.Update.__call__

    def call(self, state, batch, done):
        if done == number:
            raise Killed
        return original(self, state, batch, done)

    with monkeypatch.context() as patched:
        patched.setattr(update.Update, "__call__", call)
        with pytest.raises(Killed):
            yield


@pytest.fixture(scope="module")
def stage(family, lineage_values, tmp_path_factory):
    """(directory of a finished stage with adapters on v3, its overrides)."""
    root = tmp_path_factory.mktemp("adapted")
    values = {**lineage_values, **STEPS, "init_from": family / "v3"}
    run_stage("v7", {**values, "workdir": root / "v7"})
    return root / "v7", values


def test_only_what_it_trains_is_saved_until_its_end(stage):
    path, _ = stage
    trees = {}
    for step in layout.steps(path):
        directory = layout.step_dir(str(path), step)
        trees[step] = restore.read_meta(directory)["tree"]
    done = layout.finished(path)
    assert [*trees] == [4] and done["step"] == 4  # what is kept has all parameters
    parent = layout.record(path)["parent"]
    theirs = restore.read_meta(layout.step_dir(parent["path"], parent["step"]))["tree"]
    assert trees[4]["params"] == theirs["params"]
    assert {name.partition("/")[0] for name in trees[4]["rest"]} == {"adapter", "opt_state", "step"}
    assert done["params_sha256"] == lineage.params_sha256(restore.restore_params(path, 4, None))


def test_its_parameters_are_the_parents_and_a_product(stage):
    path, _ = stage
    record = layout.record(path)
    own = lineage.flatten(restore.restore_params(path, 4, None))
    parent = lineage.flatten(restore.load_params(record["parent"]["path"]).params)
    added = lineage.flatten(restore.restore_rest(path, 4)["adapter"])
    changed = {key for key in own if (own[key] != parent[key]).any()}
    assert changed == {key.replace("lora_a", "kernel") for key in added if "lora_a" in key}
    for key in changed:
        a, b = (added[key.replace("kernel", name)] for name in ("lora_a", "lora_b"))
        want = parent[key] + 8 * np.matmul(a, b)  # alpha 16 / rank 2
        np.testing.assert_allclose(own[key], want, atol=1e-6)
        assert np.linalg.matrix_rank(own[key][0] - parent[key][0], tol=1e-5) <= 2


def test_it_begins_as_its_parent_ended_and_learns(stage):
    path, _ = stage
    first, *_, last = [row for row in layout.metrics(path) if layout.has_eval(row)]
    parent = layout.metrics(layout.record(path)["parent"]["path"])[-1]
    assert first["eval/domain/loss"] == parent["eval/domain/loss"]
    assert last["eval/domain/loss"] < first["eval/domain/loss"]
    assert last["kl/replay"] > 0


def test_killed_it_goes_on_with_the_same_bytes(stage, monkeypatch, tmp_path, capsys):
    path, values = stage
    own = {**values, "workdir": tmp_path / "v7"}
    with killed_at(monkeypatch, 3):
        run_stage("v7", own)
    meta = restore.read_meta(layout.step_dir(str(tmp_path / "v7"), 2))
    assert meta["tree"]["params"] == {}
    with pytest.raises(UserError, match="v7@2 holds adapters alone"):
        continuation.load(f"{tmp_path / 'v7'}@2")
    with pytest.raises(UserError, match="adapter is .* was started with"):
        run_stage("v7", {**own, "adapter.alpha": 8.0})
    run_stage("v7", own)
    assert "resumed" in capsys.readouterr().out
    for name in ("params_sha256", "eval", "report"):
        assert layout.finished(tmp_path / "v7")[name] == layout.finished(path)[name]
    a, b = (restore.restore_rest(run, 4) for run in (path, tmp_path / "v7"))
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_its_parent_it_cannot_go_on(stage, monkeypatch, tmp_path):
    _, values = stage
    shutil.copytree(values["init_from"], tmp_path / "v3")
    own = {**values, "init_from": tmp_path / "v3", "workdir": tmp_path / "v7"}
    with killed_at(monkeypatch, 3):
        run_stage("v7", own)
    manifest = next((tmp_path / "v3" / "checkpoints").glob("*/manifest.json"))
    content = json.loads(manifest.read_text())
    entry = next(name for name in content["files"] if name.startswith("params"))
    content["files"][entry]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="is not the one that .* began with .*bring it back"):
        run_stage("v7", own)
    shutil.rmtree(tmp_path / "v3")
    with pytest.raises(UserError, match="there is no checkpoint .*v3@2; bring it back"):
        run_stage("v7", own)


def test_a_child_knows_no_difference(stage, lineage_values, tmp_path, capsys):
    path, _ = stage
    run_stage("v8", {**lineage_values, "init_from": path, "workdir": tmp_path / "v8"})
    said = capsys.readouterr().out
    assert "step 0 equals the parent's end on 6 sources (tolerance 0 nats)" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapter.matrices": "('qkv','key')"}, "adapter.matrices is 'key', wanted qkv"),
        (
            {"adapter.matrices": "gate"},
            r"is \('gate',\), wanted some of qkv, proj",
        ),
        ({"adapter.matrices": "('qkv','qkv')"}, "each once"),
        ({"adapter.matrices": "()"}, "each once"),
        ({"adapter.rank": -1}, "adapter.rank is -1, wanted 0 or more"),
        ({"optim.average_ratio": 0.5}, "set optim.average_ratio=0"),
        ({"optim.moments": "parent"}, "set optim.moments=fresh"),
        ({"guard.action": "rollback"}, "set guard.action=stop"),
        ({"init_from": "scratch", "objective.replay": "ce"}, "a run from scratch has none"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(stage, tmp_path, changes, said):
    _, values = stage
    with pytest.raises(UserError, match=said):
        run_stage("v7", {**values, "workdir": tmp_path / "v7", **changes})
    assert list(tmp_path.iterdir()) == []


def test_adapters_begin_beside_any_step_of_a_parent(family, lineage_values, tmp_path):
    """init_from=PATH@STEP, whose parameters no finished.json has the digest of."""
    shutil.copytree(family / "v3", tmp_path / "v3")
    (tmp_path / "v3/finished.json").unlink()
    values = {**lineage_values, "adapter.rank": 2, "workdir": tmp_path / "v7"}
    run_stage("v7", {**values, "init_from": f"{tmp_path}/v3@2"})
    digest = layout.record(tmp_path / "v7")["parent"]["params_sha256"]
    assert digest == layout.finished(family / "v3")["params_sha256"]
