"""The tables of docs/scaling.md that commands made."""

import subprocess
import sys

from conftest import ROOT


def test_the_table_of_tpu_programs_is_the_kept_one():
    command = [sys.executable, "scripts/tpu_programs.py", "--table"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout in (ROOT / "docs" / "scaling.md").read_text()
