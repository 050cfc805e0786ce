"""One parser for every command: what ml_collections' flags take, and a line on what they do not."""

import pytest

from data_pipeline.errors import UserError
from mypt_jax.schema import overrides, tree

STAGE = "--config=configs/v8.py:tiny"


def given(*arguments: str) -> dict:
    found = overrides.read([STAGE, *arguments])
    return {name: tree.get(found.config, name) for name in found.overridden}


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ([], {}),
        (["--config.seed=0x10"], {"seed": 16}),
        (["--config.seed", "5"], {"seed": 5}),
        (["-config.seed=3"], {"seed": 3}),
        (["--config.seed=3", "--config.seed=4"], {"seed": 4}),
        (["--config.guard.skip_spikes"], {"guard.skip_spikes": True}),
        (["--noconfig.checkpoint.fallback"], {"checkpoint.fallback": False}),
        (["--config.checkpoint.fallback=0"], {"checkpoint.fallback": False}),
        (["--config.optim.warmup_steps=5"], {"optim.warmup_steps": 5.0}),
        (["--config.data.domain_weights=1,2"], {"data.domain_weights": (1, 2)}),
        (["--config.data.domain=a"], {"data.domain": ("a",)}),
        (["--config.data.domain=a", "--config.data.domain=b"], {"data.domain": ("a", "b")}),
        (["--config.data.domain=('a','b')"], {"data.domain": ("a", "b")}),
        (["--config.data.domain=()"], {"data.domain": ()}),
        (["--config.init_from=a=b"], {"init_from": "a=b"}),
    ],
)
def test_what_is_taken(arguments, want):
    assert given(*arguments) == want


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--config.seed=many"], "seed is 'many', wanted a whole number like 1337"),
        (["--config.seed=1e3"], "seed is '1e3', wanted a whole number like 1337"),
        (["--config.model.scan_layers=7"], "model.scan_layers is '7', wanted True or False"),
        (["--config.data.domain=a b,("], "data.domain is 'a b,(', wanted paths like ("),
        (["--config.optim={}"], "optim is a group of keys; give one, as --config.optim."),
        (
            ["--config.learning_rate=1"],
            "unknown config key learning_rate; did you mean --config.op",
        ),
        (["--config.data.domain[0]=a"], "unknown config key data.domain[0]"),
        (["--noconfig.nothing"], "unknown config key nothing"),
        (["--config.seed"], "Missing value for flag --config.seed"),
        (["--config=configs/v7.py"], "got --config=configs/v8.py:tiny and --config=configs/v7.py"),
        (["--flagfile=nowhere"], "Unable to open flagfile"),
    ],
)
def test_what_is_refused(arguments, line):
    with pytest.raises(UserError) as refused:
        overrides.read([STAGE, *arguments])
    assert str(refused.value).startswith(line) and "\n" not in str(refused.value)


def test_a_file_of_flags_stands_where_it_is_named(tmp_path):
    (tmp_path / "flags").write_text("# mine\n--config.seed=9\n\n--config.guard.skip_spikes\n")
    file = f"--flagfile={tmp_path / 'flags'}"
    assert given(file) == {"seed": 9, "guard.skip_spikes": True}
    assert given(file, "--config.seed=10")["seed"] == 10
    assert given("--config.seed=10", file)["seed"] == 9
    (tmp_path / "stage").write_text(STAGE)
    assert overrides.read([f"--flagfile={tmp_path / 'stage'}"]).spec == "configs/v8.py:tiny"


def test_the_stage_s_own_values_and_the_arguments_of_others_stay():
    found = overrides.read(["--search", STAGE, "--topology", "v5e:2x2", "--config.seed=7", "stray"])
    assert found.rest == ["--search", "--topology", "v5e:2x2", "stray"]
    assert (found.stage["seed"], found.config["seed"]) == (1337, 7)
    assert found.overridden == {"seed"}


def test_no_stage():
    with pytest.raises(UserError, match="no --config=FILE given; for example --config=configs/v8"):
        overrides.read(["--config.seed=7"])
