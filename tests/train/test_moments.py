"""A stage that begins with its parent's optimizer, as real processes."""

import jax
import numpy as np
import pytest
from conftest import SMALL, train

from mypt_jax.checkpoint import restore
from mypt_jax.runs import layout
from tests import commands

KEPT = {"checkpoint.keep_optimizer": True}


@pytest.fixture(scope="module")
def base(datasets, compile_cache, tmp_path_factory):
    root = tmp_path_factory.mktemp("moments")
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        "num_steps": 3,
    }
    assert train("base", {**overrides, **KEPT, "workdir": root / "base"}).returncode == 0
    child = {**overrides, "init_from": root / "base", "optim.moments": "parent"}
    return root, child


def test_moments_go_on_where_the_parents_ended(base):
    """Adam's count of updates goes on, and the rate rises from the parent's last one."""
    root, child = base
    last = layout.metrics(root / "base")[-1]["lr"]
    rates = {"optim.peak_lr": 4 * last, "optim.warmup_steps": 3, "log.every_steps": 1}
    end = train("v3", {**child, **KEPT, **rates, "workdir": root / "v3"})
    assert end.returncode == 0, end.stderr
    theirs, own = (restore.restore_rest(str(root / run), 3) for run in ("base", "v3"))
    count = [
        int(leaf)
        for rest in (theirs, own)
        for path, leaf in jax.tree_util.tree_leaves_with_path(rest["opt_state"])
        if "count" in jax.tree_util.keystr(path)
    ]
    assert count == [3, 6]
    assert int(own["step"]) == 3
    rows = [row for row in layout.metrics(root / "v3") if "loss" in row]
    np.testing.assert_allclose([row["lr"] for row in rows], [2 * last, 3 * last, 4 * last])
    assert np.isfinite(rows[-1]["loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_from": "scratch"}, "has no parent"),
        ({"optim.optimizer": "lion"}, "was trained by adamw, not lion"),
    ],
)
def test_moments_that_are_not_there_are_one_line(base, tmp_path, changes, words):
    _, child = base
    end = train("v3", {**child, **changes, "workdir": tmp_path / "v3"})
    assert end.returncode == 2 and words in end.stderr.splitlines()[-1], end.stderr
    assert not (tmp_path / "v3").exists()


def test_a_parent_that_kept_none_is_one_line(base, tmp_path):
    root, child = base
    plain = {**child, "optim.moments": "fresh", "num_steps": 2, "workdir": tmp_path / "plain"}
    assert train("v3", plain).returncode == 0
    end = train("v5", {**child, "init_from": tmp_path / "plain", "workdir": tmp_path / "v5"})
    assert end.returncode == 2 and "kept no optimizer" in end.stderr.splitlines()[-1]
    out_dir = tmp_path / "out"
    values = {key: value for key, value in child.items() if key != "init_from"}
    of_all = [f"--config.{key}={value}" for key, value in values.items()]
    own = ["--config=configs/v5.py:tiny", f"--config.init_from={tmp_path}/plain", *of_all]
    data = [flag for flag in of_all if ".data." in flag or ".model." in flag]
    for line in (
        ["plan", *own, f"--config.workdir={tmp_path}/v5"],
        ["sweep", *own, "--seeds=2", f"--out_dir={out_dir}"],
        ["frontier", f"--base={tmp_path}/plain", f"--out_dir={out_dir}", *data]
        + ["--recipes=ce,kl-moments"],
    ):
        end = commands.run(line, timeout=100)
        assert end.returncode == 2 and "kept no optimizer" in end.stderr, (line, end)
    assert not out_dir.exists()


def test_a_parent_that_trained_adapters_is_one_line(base, tmp_path):
    """A traceback: its optimizer knows the adapters, which are no parameters of a child."""
    root, child = base
    added = {"optim.moments": "fresh", "adapter.rank": 1, "num_steps": 2, **KEPT}
    assert train("v3", {**child, **added, "workdir": tmp_path / "added"}).returncode == 0
    end = train("v5", {**child, "init_from": tmp_path / "added", "workdir": tmp_path / "v5"})
    assert end.returncode == 2 and "trained adapters" in end.stderr.splitlines()[-1], end.stderr
    assert not (tmp_path / "v5").exists()
