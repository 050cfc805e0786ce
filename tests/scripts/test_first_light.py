"""scripts/first_light.py on this CPU: every check passes; its table in a page."""

import subprocess
import sys

import pytest
from conftest import ROOT

from mypt_jax import first_light

NEW = ["2 x chip", "", "| check |"]


@pytest.mark.parametrize("end", ["", "\n## Later\n\ntext\n"])
def test_a_table_takes_the_place_of_the_one_of_its_title(end):
    page = f"# Page\n\n## First\n{end}"
    once = first_light.pasted(page, "First light: chip", ["old"])
    assert once == page.rstrip("\n") + "\n\n### First light: chip\n\nold\n"
    again = first_light.pasted(once + end, "First light: chip", NEW)
    section = "### First light: chip\n\n2 x chip\n\n| check |\n"
    assert again == page.rstrip("\n") + f"\n\n{section}{end}"
    assert first_light.pasted(again, "First light: chip", NEW) == again


@pytest.mark.full
def test_the_table_of_this_machine(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    done = subprocess.run(
        [sys.executable, "scripts/first_light.py", "--size=tiny", "--full", f"--into={page}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    names = [row.split("|")[1].split("(")[0].strip() for row in rows]
    policies = [f"remat={name}" for name in ("none", "light", "dots", "full")]
    assert names[:5] == ["attention", "loss and gradients", "all devices", "speed", "memory"]
    assert names[5:] == policies
    assert all("| ok |" in row for row in rows)
    assert all("tokens/s" in row and "GiB, plan about" in row for row in rows[5:])
    assert page.read_text().startswith("# Page\n\n### First light: ")
    assert done.stdout.strip() in page.read_text()
