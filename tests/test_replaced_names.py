"""What a test or a benchmark replaces in a module is there; renamed, it would replace nothing."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "tests").rglob("*.py")])


def replaced(source: str) -> set[tuple[str, str]]:
    """{(module of ours, name)} of every `module.name = ..`."""
    tree = ast.parse(source)
    modules = {
        one.asname or one.name: f"{node.module}.{one.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for one in node.names
        if node.module.split(".")[0] in ("data_pipeline", "mypt_jax")
    }
    targets = (
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)
    )
    return {(modules[one.value.id], one.attr) for one in targets if one.value.id in modules}


@pytest.mark.parametrize(
    "path", [one for one in FILES if replaced(one.read_text())], ids=lambda path: path.name
)
def test_a_name_that_is_replaced_is_there(path):
    """Of bench_run.py one was not: it timed an evaluation as part of the loop."""
    for module, name in replaced(path.read_text()):
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
