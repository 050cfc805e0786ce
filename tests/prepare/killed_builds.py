"""Builds and appends in children that kill themselves at a file operation, then runs them again.

    python tests/prepare/killed_builds.py prepare|append DIRECTORY SAMPLES

Python announces every open, rename, removal and new directory to an audit hook, so that all phases
are met: spilling, shards, syncing, moving, publishing. Prints a JSON object of what was found.
"""

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import test_prepare  # noqa: E402

from data_pipeline import errors  # noqa: E402
from data_pipeline.tokens import shards, verification  # noqa: E402

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def prepare(out: Path) -> None:
    texts = [*test_prepare.documents("a", 110, 0), *test_prepare.documents("b", 12, 0)]
    test_prepare.build(out, texts)


def append(out: Path) -> None:
    texts = [*test_prepare.documents("a", 150, 0), *test_prepare.documents("c", 110, 0)]
    test_prepare.add(out, texts, tokens_per_shard=1_000_000)


def child(work, out: Path, killed_at: int) -> tuple[bool, list[str]]:
    """Runs work(out) in a child that dies at an event; returns (whether it died, else its events).

    Events count from 1; at 0 it does not die.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        seen: list[str] = []

        def hook(event: str, _) -> None:
            if event in _EVENTS:
                seen.append(event)
                if len(seen) == killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work(out)
        except errors.UserError as error:  # published already
            assert "not empty" in str(error), error
        with os.fdopen(writing, "w") as file:
            file.write(" ".join(seen))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        seen = file.read().split()
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status), seen


def main(kind: str, directory: str, samples: str) -> None:
    root = Path(directory)
    work = {"prepare": prepare, "append": append}[kind]
    prepare(root / "base")
    start = (root / "base") if kind == "append" else None

    def fresh(name: str) -> Path:
        return shutil.copytree(start, root / name) if start else root / name

    whole = fresh("whole")
    _, events = child(work, whole, 0)
    wanted = {
        "before": test_prepare.tree(start) if start else {},
        "after": test_prepare.tree(whole),
    }
    assert wanted["before"] != wanted["after"]
    # Every move of a file or directory, the last events, and some of the many before.
    count = len(events)
    moments = {number for number, event in enumerate(events, 1) if event == "os.rename"}
    moments |= {
        *range(count - 4, count + 1),
        *random.Random(0).sample(range(1, count), int(samples)),
    }
    found = {"moments": len(moments), "before": 0, "after": 0, "wrong": []}
    for moment in sorted(moments):
        out = fresh("out")
        died, _ = child(work, out, moment)
        state = "before"
        if out.exists():  # what a reader sees
            dataset = shards.open_dataset(out)
            verification.verify(dataset)
            state = (
                "after" if dataset.fingerprint == shards.open_dataset(whole).fingerprint else state
            )
        found[state] += 1
        child(work, out, 0)
        left = sorted(path.name for path in root.iterdir())
        if (
            not died
            or test_prepare.tree(out) != wanted["after"]
            or left != ["base", "out", "whole"]
        ):
            found["wrong"].append(moment)
        shutil.rmtree(out)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
