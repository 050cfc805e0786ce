"""mypt runs: what is listed, and what is not removed by mistake."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from data_pipeline.errors import UserError
from mypt_jax.manage import command as manage
from mypt_jax.runs import layout, lease, lease_place
from tests import run_factory


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


def test_a_directory_alone_is_listed(runs, tmp_path, capsys):
    manage.main(["list", "runs"])
    shown = capsys.readouterr().out
    for where in ("runs", "runs/", str(runs)):
        assert manage.main([where]) == 0
        assert capsys.readouterr().out.count("\n") == shown.count("\n")
    with pytest.raises(UserError, match="runs/nowhere"):
        manage.main(["runs/nowhere"])
    with pytest.raises(UserError, match="lst"):  # no directory, and no command
        manage.main(["lst"])


def test_losses_of_other_text_are_marked_in_the_list(tmp_path, capsys):
    texts = {"domain/cwe": "other"}
    for stage, parent, of in (("base", None, {}), ("v3", "base", {}), ("v5", "base", texts)):
        run_factory.write_run(
            tmp_path, stage, parent=parent, start=(5.0, 2.0), final=(4.0, 2.0), texts=of
        )
    assert manage.main(["list", str(tmp_path)]) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert ["(other windows)" in row for row in rows] == [False, False, True]
    assert "4.000 (other windows)" in rows[-1] and "2.000 (" not in rows[-1]


@pytest.mark.parametrize("how", ["rolled back", "drawn back"])
def test_what_cannot_be_trained_longer_is_not_said_to_be(how, runs, capsys):
    """The guard, or a limit of forgetting, made the result of such a run."""
    name, change = {
        "rolled back": ("finished.json", {"rolled_back_from": 20}),
        "drawn back": ("lineage.json", {"limit": {"share": 0.5}}),
    }[how]
    path = runs / "base" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert manage.main(["show", "runs/base"]) == 0
    said = capsys.readouterr().out
    assert "trains it longer" not in said and "--config.init_from=runs/base\n" in said


def test_what_others_started_from_stays(runs, capsys):
    for arguments in (["remove", "runs/base"], ["rename", "runs/base", "runs/other"]):
        with pytest.raises(UserError, match="runs/v3 started from runs/base"):
            manage.main(arguments)
    assert sorted(os.listdir(runs)) == ["base", "v3"]
    assert manage.main(["remove", "runs/v3"]) == 0
    assert manage.main(["rename", "runs/base", "runs/mine/base"]) == 0
    assert os.listdir(runs) == ["mine"] and layout.finished("runs/mine/base")
    assert not lease.holder(lease_place.InDirectory("runs/mine/base"))


def test_where_there_is_nothing_to_free_nothing_is_offered(runs, capsys):
    assert manage.main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing to free in runs\n"


def test_what_goes_together_goes(runs, capsys):
    assert manage.main(["remove", "runs/base", "runs/v3"]) == 0
    assert os.listdir(runs) == []


def test_what_lies_inside_of_a_run_is_not_taken_with_it(runs, capsys):
    """Stages lie below the import that they start from; also below one that they do not."""
    shutil.move(runs / "v3", runs / "base/v3")
    for arguments in (["remove", "runs/base", "--force"], ["rename", "runs/base", "runs/b"]):
        with pytest.raises(UserError, match="runs/base/v3 (lies inside of|started from) runs/base"):
            manage.main(arguments)
    assert os.path.isdir("runs/base/v3")
    assert manage.main(["rename", "runs/base", "runs/b", "--force"]) == 0
    assert manage.main(["remove", "runs/b", "runs/b/v3"]) == 0
    assert os.listdir(runs) == []


def test_a_run_elsewhere_needs_it_too(runs):
    """A child that lies below runs/, of a base that does not."""
    shutil.move(runs / "base", runs.parent / "gpt2")
    path = runs / "v3/lineage.json"
    path.write_text(path.read_text().replace('"runs/base"', '"gpt2"'))
    with pytest.raises(UserError, match="runs/v3 started from gpt2"):
        manage.main(["remove", "gpt2"])
    assert manage.main(["remove", "gpt2", "--force"]) == 0 and not (runs.parent / "gpt2").exists()


def test_a_run_beside_runs_needs_it_too(runs, capsys):
    """As mypt adapt leaves it in its --out_dir; far below, or damaged, none is looked for."""
    shutil.move(runs / "v3", runs.parent / "clients/one/adapted")
    (runs.parent / "odd").mkdir()
    for name in ("config.json", "lineage.json"):
        (runs.parent / "odd" / name).write_text("{")
    for arguments in (["remove", "runs/base"], ["rename", "runs/base", "runs/other"]):
        with pytest.raises(UserError, match="clients/one/adapted started from runs/base"):
            manage.main(arguments)
    (step,) = layout.steps("runs/base")
    shutil.copytree(layout.step_dir("runs/base", step), layout.step_dir("runs/base", 6))
    path = runs.parent / "clients/one/adapted/lineage.json"
    record = json.loads(path.read_text())
    for one in (record["parent"], *record["ancestors"]):
        one["step"] = 6
    path.write_text(json.dumps(record))
    assert manage.main(["clean", "--yes"]) == 0
    assert layout.steps("runs/base") == [6, step]  # which is what the other started from


def test_runs_that_were_moved_together_know_each_other(runs):
    """By the parent's parameters: the name that was recorded is another."""
    shutil.move(runs, runs.parent / "archive")
    with pytest.raises(UserError, match="archive/v3 started from archive/base"):
        manage.main(["remove", "archive/base"])
    assert os.path.isdir("archive/base")


def test_a_run_is_shown_with_what_can_follow(runs, capsys):
    assert manage.main(["show", "runs/base", "runs/v3/"]) == 0
    base, v3 = capsys.readouterr().out.split("\n\n")
    assert base.startswith("run       runs/base: finished at 12, baseline\n")
    assert "parent of runs/v3\n" in base and "trains it longer" in base
    assert v3.startswith("run       runs/v3: stopped at 6 of 12, ")
    assert "lineage   base@12 -> v3\n" in v3 and "data.replay_ratio: 1.0 -> 0.3\n" in v3
    assert "step 6: " in v3 and "with its optimizer\n" in v3 and "MB in all\n" in v3
    assert "the command that began it goes on, with its overrides:\n" in v3
    assert "--config=configs/v3.py:tiny --config.workdir=runs/v3 --config.init_from=runs/base" in v3
    path = runs / "v3/lineage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"notes": ["guard stop: step 6: forgetting +13.0 %"]}))
    assert manage.main(["show", "runs/v3"]) == 0
    assert "--config.guard.action=warn\n" in capsys.readouterr().out


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
    rest = os.path.join(layout.step_dir("runs/base", final), "rest")
    os.makedirs(rest)
    Path(rest, "moments").write_bytes(b"1")  # also what a killed removal has left of it
    assert manage.main(["clean", "runs", "--optimizer", "--yes"]) == 0
    assert f"runs/base: step {final}, its optimizer's state" in capsys.readouterr().out
    assert not os.path.exists(rest) and layout.has_optimizer("runs/v3", 6)


def test_a_step_that_another_run_started_from_is_not_cleaned_away(runs, capsys):
    """init_from=PATH@STEP: the child could not be resumed without it."""
    final = layout.finished("runs/base")["step"]
    for number in (1, 2):
        shutil.copytree(
            layout.step_dir("runs/base", final), layout.step_dir("runs/base", final - number)
        )
    path = runs / "v3/lineage.json"
    record = json.loads(path.read_text())
    record["ancestors"][0]["step"] = record["parent"]["step"] = final - 2
    path.write_text(json.dumps(record))
    assert manage.main(["clean", "runs/base", "--yes"]) == 0
    assert layout.steps("runs/base") == [final - 2, final]


def test_where_a_run_cannot_go_is_one_line(runs):
    os.symlink("v3", "runs/link")
    for arguments, words in (
        (["rename", "runs/v3", "runs/v3/x"], "inside of runs/v3 itself"),
        (["rename", "runs/v3", "runs/base/"], "is there already"),
        (["remove", "runs/link"], "runs/link is a link to .*runs/v3: name that"),
        (["rename", "runs/link", "runs/x", "--force"], "is a link to"),
        (["rename", "runs/v3", "runs/base@6"], "runs/base@6 reads as step 6 of runs/base"),
    ):
        with pytest.raises(UserError, match=words):
            manage.main(arguments)
    assert sorted(os.listdir(runs)) == ["base", "link", "v3"]


@pytest.mark.parametrize(
    "arguments", [["list", "nowhere"], ["remove", "runs"], ["clean", "x"], ["show", "runs"]]
)
def test_what_is_no_run_is_one_line(runs, arguments):
    with pytest.raises(UserError):
        manage.main(arguments)
    assert sorted(os.listdir(runs)) == ["base", "v3"]


def _damage(runs, name):
    """A sibling of v3 that says nothing any more of what it started from."""
    shutil.copytree(runs / "v3", runs / "v9")
    (runs / "v9" / name).write_text("{")
    return f"run runs/v9: runs/v9/{name} cannot be read as JSON"


@pytest.mark.parametrize("name", ["config.json", "lineage.json"])
def test_a_damaged_run_is_a_line_beside_the_others(runs, capsys, name):
    words = _damage(runs, name)
    assert manage.main(["list", "runs"]) == 0
    _, *rows, line = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["runs/base", "runs/v3"]
    assert line.startswith(f"left out: {words}")
    assert manage.main(["show", "runs/base"]) == 0
    shown = capsys.readouterr().out
    assert "parent of runs/v3\n" in shown and "left out  run " in shown and "v9" in shown


def test_a_run_is_not_removed_while_a_damaged_one_may_need_it(runs, capsys):
    words = _damage(runs, "lineage.json")
    shutil.move(runs / "base", runs.parent / "gpt2")
    path = runs / "v3/lineage.json"
    path.write_text(path.read_text().replace('"runs/base"', '"gpt2"'))
    for arguments in (["remove", "gpt2"], ["remove", "runs/v3"], ["clean", "runs", "--yes"]):
        with pytest.raises(UserError, match="v9/lineage.json .* what it started from is not known"):
            manage.main(arguments)
    with pytest.raises(UserError, match=f"{words}.*--force does it nevertheless"):
        manage.main(["remove", "runs/v9"])
    assert manage.main(["remove", "runs/v9", "--force"]) == 0
    assert sorted(os.listdir(runs)) == ["v3"]
    with pytest.raises(UserError, match="runs/v3 started from gpt2"):
        manage.main(["remove", "gpt2"])
