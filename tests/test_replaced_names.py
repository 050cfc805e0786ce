"""What tests and scripts read or replace in a module is there; the type checker reads neither."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "tests").rglob("*.py")])


def named(source: str) -> set[tuple[str, str]]:
    """{(module of ours, name)} of every `module.name`, read or replaced."""
    nodes = list(ast.walk(ast.parse(source)))
    modules = {
        one.asname or one.name: f"{node.module}.{one.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for one in node.names
        if node.module.split(".")[0] in ("configs", "data_pipeline", "mypt_jax")
    }
    # A variable or an argument of the same name is no module.
    bound = {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in nodes
        if isinstance(node, ast.arg)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }
    return {
        (modules[node.value.id], node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in modules and node.value.id not in bound
    }


@pytest.mark.parametrize(
    "path", [one for one in FILES if named(one.read_text())], ids=lambda path: path.name
)
def test_a_name_that_is_used_is_there(path):
    """Of bench_run.py one was not: it timed an evaluation as part of the loop; tpu_programs.py
    called a function that had moved."""
    for module, name in named(path.read_text()):
        package, _, last = module.rpartition(".")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:  # a class or a function of the module
            found = getattr(importlib.import_module(package), last)
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")  # a package's module, not yet imported
