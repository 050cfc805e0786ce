"""What a run holds of others is where its lineage says, or where it lies now."""

import json
import shutil

import pytest
from conftest import ROOT

from data_pipeline.errors import UserError
from mypt_jax.runs import integrity, layout
from mypt_jax.schema import held

TOLD = {"told": "objective.teacher=base", "else_do": ""}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """v3 that is taught by runs/base, both in another directory since."""
    shutil.copytree(ROOT / "tests/data/run_d73f938/runs", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    digest = integrity.digest(layout.step_dir("moved/base", 12), "params")
    teacher = {"path": "runs/base", "step": 12, "digest": digest}
    path = tmp_path / "moved/v3/lineage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher": teacher}))
    return "moved/v3"


def test_what_was_moved_with_a_run_is_held_where_it_lies_now(workdir):
    found = held.find({"workdir": workdir}, "teacher", "moved/base", 0, **TOLD)
    assert (found.path, found.step) == ("moved/base", 12)


def test_another_run_in_its_place_is_not(workdir):
    path = layout.join(layout.step_dir("moved/base", 12), integrity.MANIFEST)
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('"sha256": "', '"sha256": "f'))
    with pytest.raises(UserError, match="moved/base@12 is not the one that moved/v3 began with"):
        held.find({"workdir": workdir}, "teacher", "moved/base", 0, **TOLD)
    for gone in ("", "nowhere"):
        with pytest.raises(UserError, match="there is no checkpoint runs/base@12; bring it back"):
            held.find({"workdir": workdir}, "teacher", gone, 0, **TOLD)
