"""Where an ancestor lies: a parent under another name, or moved, is the same parent."""

import os
import shutil

import pytest
from conftest import ROOT

from mypt_jax.runs import baselines
from mypt_jax.schema import changes, keys, recorded


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """base, and v3, which was started from runs/base."""
    shutil.copytree(ROOT / "tests/data/run_d73f938/runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("now", "is_same"),
    [
        ("runs/base", True),
        ("runs/base/", True),
        ("./runs/../runs/base", True),
        ("{here}/runs/base", True),
        ("link/base", True),
        ("moved", True),
        ("runs/base@12", False),  # of which that is the final one, but need not stay so
        ("runs/v3", False),
        ("other", False),
        ("nowhere", False),
        ("scratch", False),
        ("runs/base@x", False),
    ],
)
def test_a_parent_under_another_name_is_the_same(runs, now, is_same):
    os.symlink("runs", "link")
    shutil.copytree("runs/base", "moved")
    shutil.copytree("runs/base", "other")
    path = runs.parent / "other/lineage.json"
    path.write_text(path.read_text().replace('"run_id": "', '"run_id": "another'))
    done = runs.parent / "other/finished.json"
    done.write_text(done.read_text().replace('"params_sha256": "', '"params_sha256": "f'))
    now = now.format(here=runs.parent)
    assert baselines.is_same_start("runs/v3", "runs/base", now) == is_same
    before = recorded.config("runs/v3")
    found = changes.between(before, before | {"init_from": now}, keys.ARCHITECTURE)
    assert bool(found) != is_same


def test_a_run_that_went_elsewhere_with_its_parent_still_has_it(runs):
    shutil.move(runs, runs.parent / "archive")
    assert baselines.is_same_start("archive/v3", "runs/base", "archive/base")
    assert not baselines.is_same_start("archive/v3", "runs/base", "archive/v3")
