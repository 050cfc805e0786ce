"""Starts trainers as real processes without paying the imports each time.

Reads one JSON request per line, forks, and runs `mypt_jax.main` in the child as the command line
would: own process, own process group, own signals. Nothing of JAX is started before the fork. A
fault is a function of faults.py that changes the trainer from outside, before it starts.
"""

import json
import os
import sys
import threading
from pathlib import Path

from absl import app

import mypt_jax.train.loop  # noqa: F401 (what main imports later)
from mypt_jax import main
from mypt_jax.schema import validation  # noqa: F401
from tests.faults import faults


def child(request: dict) -> None:
    os.setsid()  # a terminal that is opened from here on is this process's own
    for descriptor, key in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[key], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.environ.update(request["environment"])
    if request["directory"]:
        os.chdir(request["directory"])
    for name, arguments in request["faults"].items():
        getattr(faults, name)(**arguments)
    sys.argv = ["mypt_jax/main.py", *request["flags"]]  # where ml_collections looks, too
    app.run(main.main, flags_parser=main._parse)


def record_end(pid: int, path: str) -> None:
    _, status = os.waitpid(pid, 0)
    partial = Path(f"{path}.partial")
    partial.write_text(str(os.waitstatus_to_exitcode(status)))
    partial.rename(path)


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(request)  # raises SystemExit
        threading.Thread(target=record_end, args=(pid, request["end"]), daemon=True).start()
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
