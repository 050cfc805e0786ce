"""What is printed where nobody reads, or nothing can be read."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from mypt_jax import cli, console

PRINTS = (
    "import sys\n"
    "from mypt_jax import console\n"
    "console.hold()\n"
    "path = sys.argv[1]\n"
    "with open(path, 'w') as file:\n"
    "    assert file.fileno() > 2\n"
    "    print('out \\u2603')\n"
    "    print('err', file=sys.stderr)\n"
    "    console.say_at_once('bye')\n"
    "    file.write(f'{sys.stdout.isatty()} {sys.stderr.fileno()}')\n"
)


@pytest.mark.parametrize("redirection", ["", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_a_process_goes_on_with_any_console(tmp_path, redirection):
    script = f'exec "$0" -c "$1" "$2" {redirection}'
    command = ["bash", "-c", script, sys.executable, PRINTS, str(tmp_path / "file")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "False 2"
    if not redirection:
        assert done.stdout == "out \\u2603\n" and done.stderr == "err\nbye\n"


def test_a_reader_that_pauses_holds_a_run_up_once(monkeypatch):
    """A terminal that was paused, a connection that hangs: what does not fit is dropped."""
    monkeypatch.setattr(console, "PATIENCE_SECS", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    stream = console._Unfailing(writer)
    assert [stream.write(b"lost") for _ in range(3)] == [4, 4, 4]
    while len(os.read(reader, 1 << 20)) == 1 << 20:
        pass
    assert stream.write(b"read") == 4
    assert os.read(reader, 100) == b"read"
    os.close(reader)
    assert stream.write(b"nobody") == 6
    os.close(writer)
    assert stream.write(b"closed") == 6


@pytest.mark.parametrize("name", [name for name, one in cli.COMMANDS.items() if one.outlives])
def test_a_command_that_makes_runs_holds_its_console_however_it_is_begun(name):
    module = cli.COMMANDS[name].where.partition(":")[0].removesuffix(".command")
    path = ROOT.joinpath(*module.split("."))
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert "sys.exit(console.run(" in file.read_text()
