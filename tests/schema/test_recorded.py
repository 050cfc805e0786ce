"""A run or parent whose JSON files hold something else is refused in a line, and left as it is."""

import json
import shutil

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.runs import layout, lineage
from mypt_jax.schema import overrides, validation
from mypt_jax.train import finish
from tests import odd_json

OLD = ROOT / "tests" / "data" / "run_d73f938"
FILES = (layout.CONFIG, lineage.FILE, layout.FINISHED)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return shutil.copytree(OLD, tmp_path_factory.mktemp("old") / "copy")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_parent_or_a_run_with_something_else_in_its_files(directory, monkeypatch, data):
    monkeypatch.chdir(directory)
    expected = json.loads((directory / "expected.json").read_text())["overrides"]
    arguments = [f"--config={ROOT}/configs/v3.py:tiny"]
    arguments += [f"--config.{key}={value}" for key, value in expected.items()]
    run = data.draw(st.sampled_from(["base", "v3"]))
    name = data.draw(st.sampled_from(FILES[: 3 if run == "base" else 2]))
    path = directory / "runs" / run / name
    before = path.read_text()
    path.write_text(json.dumps(data.draw(odd_json.altered(json.loads(before)))))
    try:
        given_ = overrides.read(arguments)
        validation.validate(given_.config, overridden=given_.overridden, stage=given_.stage)
        finish.is_there({**given_.config, "workdir": f"runs/{run}"})
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        path.write_text(before)
