"""Every script answers --help at once, with an example, and does nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path
    for path in (ROOT / "scripts").iterdir()
    if path.suffix in (".py", ".sh") and path.name[0] != "_" and path.name != "environment.sh"
)


@pytest.mark.parametrize(
    "path", [one for one in SCRIPTS if one.suffix == ".py"], ids=lambda path: path.name
)
def test_a_script_finds_the_checkout_before_its_packages(path):
    """So that it runs uninstalled, whatever the tests that import it have on their path."""
    imported = re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(), re.M)
    own = [one for one in imported if one.split(".")[0] in ("configs", "data_pipeline", "mypt_jax")]
    if own:
        assert "_checkout" in imported[: imported.index(own[0])]


@pytest.mark.full  # half a minute, for what changes seldom
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_help_is_an_example_and_waits_for_no_jax(path):
    program = ["bash", str(path)]
    if path.suffix == ".py":
        program = [sys.executable, "-X", "importtime", str(path)]
    done = subprocess.run(
        [*program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert re.search(r"^ *(#? *)(bash|python|mypt) \S|`mypt \w+", done.stdout, re.M), done.stdout
    imported = re.findall(r"\| +([\w.]+)$", done.stderr, re.M)
    assert not {"jax", "torch", "tensorflow"} & {*imported}
