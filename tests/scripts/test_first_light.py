"""scripts/first_light.py on this CPU: every check passes, and a wrong kernel does not."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.full
def test_the_table_of_this_machine():
    done = subprocess.run(
        [sys.executable, "scripts/first_light.py", "--size=tiny"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    names = [row.split("|")[1].split("(")[0].strip() for row in rows]
    assert names == ["attention", "loss and gradients", "all devices", "speed", "memory"]
    assert all("| ok |" in row for row in rows)
