"""mypt foretell: of which runs it says nothing, and why."""

import json

import pytest

from mypt_jax.foretell import command
from tests import run_factory


def _rolled_back(run) -> None:
    done = json.loads((run / "finished.json").read_text())
    (run / "finished.json").write_text(json.dumps(done | {"step": 10, "rolled_back_from": 20}))


def _merged(run) -> None:
    record = json.loads((run / "lineage.json").read_text())
    parts = [{**one, "weight": 0.5, "since": [], "licences": {}} for one in 2 * record["ancestors"]]
    (run / "lineage.json").write_text(json.dumps(record | {"merged_from": parts}))
    (run / "metrics.jsonl").unlink()  # as where none of the parts was evaluated


def _torn(run) -> None:
    path = run / "metrics.jsonl"
    path.write_text(path.read_text()[:-20] + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_rolled_back, "its guard rolled it back"),
        (_merged, "it is a sum of runs, and was not trained"),
        (_torn, "it was not evaluated on domain and general at its end, or that is damaged"),
    ],
)
def test_a_run_whose_end_is_not_its_own_is_a_line(change, said, tmp_path, capsys):
    run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5.0, 2.0))
    run = run_factory.write_run(tmp_path, "v3", parent="base", start=(5.0, 2.0), final=(3.0, 2.2))
    change(run)
    assert command.main([str(tmp_path)]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith(str(run))]
    assert said in line


@pytest.mark.parametrize("name", ["finished.json", "lineage.json", "config.json"])
def test_a_damaged_run_is_a_line_beside_the_others(name, tmp_path, capsys):
    run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5.0, 2.0))
    for stage in ("v3", "v5", "v7"):
        run_factory.write_run(tmp_path, stage, parent="base", start=(5.0, 2.0), final=(3.0, 2.2))
    for stage in ("v3", "v7"):  # merged: told without data, which these runs lack
        _merged(tmp_path / stage)
    (tmp_path / "v5" / name).write_text("{")
    assert command.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for stage in ("v3", "v7"):
        assert any(line.startswith(str(tmp_path / stage)) for line in lines)
    (line,) = [line for line in lines if name in line]
    assert f"{tmp_path}/v5/{name} cannot be read as JSON" in line
