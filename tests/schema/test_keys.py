"""The rows and configs/base.py say the same, and every row is read somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from configs import base, base_llama, common, v3, v5, v7, v8
from data_pipeline.errors import UserError
from mypt_jax.schema import help, keys, together, tree, validation, values

ROOT = Path(__file__).resolve().parents[2]


def stage_values(stage=base, argument=common.DEFAULT_ARGUMENT) -> dict:
    return tree.plain(stage.get_config(argument).to_dict())


def test_a_row_for_each_key_in_the_order_of_base_py_and_a_key_for_each_row():
    written = list(help.comments((ROOT / "configs" / "base.py").read_text()))
    assert written == [row.name for row in keys.ROWS]
    assert set(tree.flat(stage_values())) == {row.name for row in keys.ROWS}


def test_a_config_without_a_key_is_refused_and_one_with_its_own_is_not():
    config = stage_values()
    config["hf_token"] = "of a stage file that unlocks its config"
    values.check_values(config)
    del config["optim"]["eps"]
    with pytest.raises(UserError, match="the config has no optim.eps"):
        values.check_values(config)


@pytest.mark.parametrize("size", common.SIZES)
@pytest.mark.parametrize("stage", [base, base_llama, v3, v5, v7, v8], ids=lambda m: m.__name__)
def test_the_stage_files_are_in_range(stage, size):
    values.check_values(stage_values(stage, size))


@pytest.mark.parametrize("row", keys.ROWS, ids=lambda row: row.name)
def test_each_row_refuses_what_is_outside_and_its_absent_is_inside(row):
    config = stage_values()
    wrong = [object(), None, *([] if row.is_tuple else [()])]
    wrong += [row.above, "nothing of the kind"] if row.above is not None else []
    wrong += [row.least - 1] if row.least is not None else []
    wrong += [row.below] if row.below is not None else []
    wrong += [row.most + 1] if row.most is not None else []
    wrong += ["", "another"] if row.choices else []
    for value in wrong:
        tree.put(config, row.name, (value,) if row.is_tuple else value)
        with pytest.raises(UserError) as refused:
            values.check_values(config)
        assert str(refused.value).startswith(f"{row.name} is "), value
    if row.absent is not keys.REQUIRED:
        values._check(row, row.absent)
        assert isinstance(row.absent, tuple if row.is_tuple else row.type)


@cache
def read_names() -> tuple[set[str], list[re.Pattern]]:
    """Names and texts of mypt_jax, scripts and data_pipeline but for the rows, and f-strings."""
    names, patterns = set(), []
    for path in [p for top in ("mypt_jax", "scripts") for p in (ROOT / top).rglob("*.py")]:
        if path == ROOT / "mypt_jax" / "schema" / "keys.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value, *node.value.split()}
            elif isinstance(node, ast.JoinedStr) and len(node.values) < 4:
                parts = [getattr(part, "value", None) for part in node.values]
                parts = [re.escape(p) if isinstance(p, str) else r"\w+" for p in parts]
                patterns.append(re.compile("".join(parts)))
    return names, [p for p in patterns if re.search("[a-z]{5}", p.pattern)]


@pytest.mark.parametrize("row", keys.ROWS, ids=lambda row: row.name)
def test_each_row_is_read_by_the_code(row):
    names, patterns = read_names()
    assert row.leaf in names or any(pattern.fullmatch(row.leaf) for pattern in patterns)


def test_the_choices_are_the_rows_of_the_tables():
    from mypt_jax import optim
    from mypt_jax.train import objective

    for name, table in (
        ("optim.optimizer", optim.OPTIMIZERS),
        ("optim.schedule", optim.SCHEDULES),
        ("objective.replay", objective.REPLAY),
    ):
        assert keys.BY_NAME[name].choices == tuple(table)


def test_what_has_a_teacher_is_said_by_its_row():
    """A new loss without one is a row of the objectives alone: nobody compares with "ce"."""
    from mypt_jax.train import objective

    with_teacher = [name for name, ce_weight in objective.REPLAY.items() if ce_weight is not None]
    assert keys.BY_NAME["objective.teacher"].only == ("objective.replay", *with_teacher)
    config = tree.plain(v3.get_config("tiny").to_dict())
    config["objective"]["replay"] = "margin"  # nobody has heard of it
    together.check_objective(config, set())
    assert not tree.has_effect(config, "objective.teacher")
    assert validation._find_teacher(config, None) is None


def test_an_old_config_is_read_with_the_values_that_its_run_had():
    config = stage_values()
    del config["model"]["n_kv_head"], config["checkpoint"]["allow_cast"], config["mesh"]
    config["model"]["rope_scaling"] = [8.0]
    found = tree.completed(config)
    assert found["model"]["n_kv_head"] == 0 and found["checkpoint"]["allow_cast"] is False
    assert found["mesh"] == {"data": 0, "fsdp": 1, "tensor": 1}
    assert found["model"]["rope_scaling"] == (8.0,)
    assert "mesh" not in config, "the recorded one stays"
