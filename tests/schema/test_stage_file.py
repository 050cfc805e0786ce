"""Stage files are a user's own code: what is wrong with one is one line, and nothing is trained."""

import pytest

from data_pipeline.errors import UserError
from mypt_jax.schema import stage_file

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
    path.write_text(STAGE.format(body="config.optim.peak_lr = 0.5"))
    assert stage_file.load(str(path)).optim.peak_lr == 0.5


def test_a_file_that_is_no_python():
    with pytest.raises(UserError, match="README.md is no Python file"):
        stage_file.load("README.md")
