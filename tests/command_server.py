"""Runs commands of the table as processes of their own without paying the imports each time.

Reads one JSON request per line, forks, and runs `mypt ARGUMENTS` in the child as the installed
command would; answers with how it ended. Nothing of JAX is started before the fork.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
import threading

import mypt_jax.train.loop  # noqa: F401 (what commands import later)
from mypt_jax import cli
from mypt_jax.checkpoint import restore  # noqa: F401
from mypt_jax.evaluate import scorer  # noqa: F401
from mypt_jax.schema import validation  # noqa: F401

HUNG_SECS = 400  # where a request has no timeout; this machine may be busy


def child(request: dict) -> None:
    os.setsid()
    os.chdir(request["directory"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for descriptor, key in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[key], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.close(null)
    os.environ.clear()
    os.environ.update(request["environment"])
    if files := request.get("files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if limit := request.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.umask(request.get("umask", 0o022))
    for descriptor in request.get("closed", ()):
        os.close(descriptor)
        # As the interpreter does for a descriptor that was closed before it started.
        setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)
    sys.argv = ["mypt", *request["arguments"]]
    sys.exit(cli.command())


def ended(pid: int, timeout: float) -> int:
    """How a child ended: its exit code, or minus the signal; -9 for one that hung."""
    killer = threading.Timer(timeout, os.killpg, (pid, signal.SIGKILL))
    killer.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        killer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it has left running


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            sys.stdin = io.TextIOWrapper(io.FileIO(0))
            child(request)  # raises SystemExit
        print(ended(pid, request.get("timeout", HUNG_SECS)), flush=True)


if __name__ == "__main__":
    serve()
