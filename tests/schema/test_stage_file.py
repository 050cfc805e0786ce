"""Stage files are a user's own code: what is wrong with one is one line, and nothing is trained."""

import re

import pytest

from data_pipeline.errors import UserError
from mypt_jax import shipped, stages
from mypt_jax.schema import overrides, stage_file

STAGE = """
from configs import base


def get_config(argument="tiny"):
    config = base.get_config(argument)
    {body}
    return config
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("config.optim.peek_lr = 0.5", "peek_lr"),
        ("config.nmu_steps = 3", "nmu_steps"),
        ("config.model.num_layers = 3", "num_layers"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(7)", "SystemExit"),
        ("return 5", "get_config returns a int, not a ConfigDict"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, body, words):
    path = tmp_path / "mine.py"
    path.write_text(STAGE.format(body=body))
    with pytest.raises(UserError) as error:
        stage_file.load(f"{path}:tiny")
    assert words in str(error.value) and str(path) in str(error.value)


def test_another_value_is_no_fault(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(STAGE.format(body="config.workdir, config.optim.peak_lr = 'own', 0.5"))
    assert stage_file.load(str(path)).optim.peak_lr == 0.5


def test_a_file_that_is_no_python():
    with pytest.raises(UserError, match="README.md is no Python file"):
        stage_file.load("README.md")


def test_a_stage_file_that_is_not_here_is_the_project_s(tmp_path, monkeypatch, capsys):
    stage_file._say_ours.cache_clear()
    monkeypatch.chdir(tmp_path)
    assert stage_file.load("configs/v8.py:tiny").stage == "v8"
    assert stage_file.load("./configs/v7.py").stage == "v7"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and shipped.STAGES in said
    with pytest.raises(
        UserError, match=r"configs/v9.py does not exist; configs has adapt.py, base.py, .*v8"
    ):
        stage_file.load("configs/v9.py")
    with pytest.raises(UserError, match="other/v8.py does not exist"):
        stage_file.load("other/v8.py")


def test_copied_stage_files_stand_on_their_own(tmp_path, monkeypatch, capsys):
    """Wherever they lie, `from configs import base` is the base.py beside them."""
    monkeypatch.chdir(tmp_path)
    before = stage_file.load("configs/v8.py:tiny").to_dict()
    for name, seed in (("configs", 11), ("mine", 12)):
        assert stages.main([name]) == 0
        base = tmp_path / name / "base.py"
        base.write_text(re.sub(r"config\.seed = \d+", f"config.seed = {seed}", base.read_text()))
    for name, seed in (("mine", 12), ("configs", 11), ("mine", 12)):
        assert stage_file.load(f"{name}/v8.py:tiny").to_dict() == {**before, "seed": seed}
    with pytest.raises(UserError, match="mine has adapt.py, base.py"):
        stages.main(["mine"])
    # One's own file alone: what it builds on is the project's, and others are beside it.
    (tmp_path / "configs" / "base.py").unlink()
    (tmp_path / "configs" / "own.py").write_text(
        STAGE.format(body="config.workdir, config.optim.peak_lr = 'own', 0.5")
    )
    given = overrides.read(["--config=configs/own.py:tiny"])
    assert given.config["seed"] == before["seed"] and given.config["optim"]["peak_lr"] == 0.5
