"""--help has every key with what it takes and what it is for, at once and without JAX."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mypt_jax.schema import help, keys, overrides

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "configs" / "base.py").read_text()


def test_every_key_has_a_comment():
    assert [name for name, said in help.comments(SOURCE).items() if not said] == []


def test_comments_beside_above_and_of_several_lines():
    source = """
def get_config():
    config.a = 1  # one
    config.g = ConfigDict()
    # About both,
    # in two lines.
    config.g.b = (
        "x"  # not of this
    )
    config.g.c = 3
    config.h.d = 4
"""
    assert help.comments(source) == {"a": "one", "g.b": "not of this", "g.c": "", "h.d": ""}
    above = source.replace("  # not of this", "")
    both = "About both, in two lines."
    assert help.comments(above) == {"a": "one", "g.b": both, "g.c": both, "h.d": ""}


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_the_command_answers_without_jax(flag):
    """With the values of the stage that is named, or of base.py."""
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('mypt_jax.main', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'jax' not in sys.modules"
    )
    for arguments, rate in (([], 3e-4), (["--config=configs/v8.py:tiny"], 9e-4)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, flag],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert f"\n  --config.optim.peak_lr={rate:g}\n" in done.stdout
        assert "(the original's --learning_rate" in " ".join(done.stdout.split())


def test_each_line_can_be_typed_as_it_stands():
    stage = overrides.read(["--config=configs/base.py"]).stage
    lines = help.text(stage, SOURCE, origin="configs/base.py").splitlines()
    typed = [shlex.split(line.strip())[0] for line in lines if line.startswith("  --config.")]
    assert len(typed) == len(keys.ROWS)
    again = overrides.read(["--config=configs/base.py", *typed])
    assert again.config == stage and len(again.overridden) == len(keys.ROWS)
