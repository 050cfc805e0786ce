"""mypt runs: what is listed, and what is not removed by mistake."""

import os
import shutil

import pytest
from conftest import ROOT

from data_pipeline.errors import UserError
from mypt_jax import manage
from mypt_jax.runs import layout, lease, lease_place


@pytest.fixture
def runs(tmp_path):
    """A finished base and a v3 from it that was stopped; relative paths, as they were recorded."""
    shutil.copytree(ROOT / "tests/data/run_d73f938/runs", tmp_path / "runs")
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path / "runs"
    os.chdir(before)


def test_a_list_says_where_each_run_stands(runs, capsys):
    assert manage.main([]) == 0
    header, base, v3 = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["run", "state", "from"]
    assert base.startswith("runs/base") and "finished at" in base
    assert v3.startswith("runs/v3") and "stopped at 6 of 12" in v3 and " base " in v3


def test_what_others_started_from_stays(runs, capsys):
    for arguments in (["remove", "runs/base"], ["rename", "runs/base", "runs/other"]):
        with pytest.raises(UserError, match="runs/v3 started from runs/base"):
            manage.main(arguments)
    assert sorted(os.listdir(runs)) == ["base", "v3"]
    assert manage.main(["remove", "runs/v3"]) == 0
    assert manage.main(["rename", "runs/base", "runs/mine/base"]) == 0
    assert os.listdir(runs) == ["mine"] and layout.finished("runs/mine/base")


def test_a_run_at_work_is_left_alone(runs, capsys):
    owner = lease.Lease(lease_place.InDirectory("runs/v3"))
    owner.acquire()
    with pytest.raises(UserError, match=rf"runs/v3 is at work \(process {os.getpid()} on "):
        manage.main(["remove", "runs/v3", "--force"])
    assert manage.main(["list", "runs"]) == 0
    assert "at work, 6 of 12" in capsys.readouterr().out
    owner.release()
    assert manage.main(["remove", "runs/v3"]) == 0


def test_a_finished_run_can_give_up_what_is_not_its_result(runs, capsys):
    final = layout.finished("runs/base")["step"]
    extra = layout.step_dir("runs/base", final - 1)
    shutil.copytree(layout.step_dir("runs/base", final), extra)
    assert manage.main(["clean", "runs"]) == 0
    assert f"runs/base: step {final - 1}" in capsys.readouterr().out and os.path.isdir(extra)
    assert manage.main(["clean", "runs", "--yes"]) == 0
    assert layout.steps("runs/base") == [final] and layout.steps("runs/v3") == [6]


@pytest.mark.parametrize("arguments", [["list", "nowhere"], ["remove", "runs"], ["clean", "x"]])
def test_what_is_no_run_is_one_line(runs, arguments):
    with pytest.raises(UserError):
        manage.main(arguments)
    assert sorted(os.listdir(runs)) == ["base", "v3"]
