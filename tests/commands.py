"""Commands as real processes without paying their imports each time (command_server.py)."""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _environment() -> dict[str, str]:
    """Of this process as it is now."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


class Server:
    """command_server.py, which runs one command at a time."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server"],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *, environment=(), unset=(), **request) -> int:
        """How a command ended; what else may be asked for is read by command_server.child."""
        whole = _environment() | dict(environment)
        request["environment"] = {key: whole[key] for key in whole.keys() - {*unset}}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=30)  # nobody writes to it any more, and so it ends


@functools.cache
def server() -> Server:
    """The one of this process."""
    found = Server()
    atexit.register(found.close)
    return found


def run(arguments: list[str], *, timeout: float) -> subprocess.CompletedProcess:
    """`mypt ARGUMENTS` from the root of the repository, as subprocess.run gives it."""
    with tempfile.TemporaryDirectory() as place:
        files = {key: os.path.join(place, key) for key in ("stdout", "stderr")}
        code = server().run(
            directory=str(ROOT),
            arguments=arguments,
            timeout=timeout,
            **files,
        )
        said = {key: Path(file).read_text() for key, file in files.items()}
    return subprocess.CompletedProcess(["mypt", *arguments], code, **said)
