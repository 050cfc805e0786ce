"""Trains the trials of a sweep, each in a process of its own, several at once on a device each."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

from mypt_jax.sweep.trials import Trial

PREEMPTED = 75  # the exit code of a run that a signal stopped


def train(trials: Sequence[Trial], *, parallel: int) -> Iterator[tuple[Trial, int]]:
    """Trains them all, and yields each with its exit code as it ends. What each prints is added to
    WORKDIR.log. With `parallel` above 1 so many run at once, each on a device of its own.

    A signal goes to all that run; those that were not begun end as if it had reached them.
    """
    running: set[subprocess.Popen] = set()
    free = list(range(parallel))
    stopped = False

    def one(trial: Trial) -> int:
        if stopped:
            return PREEMPTED
        device = free.pop()
        environment = {**os.environ, **_only(device)} if parallel > 1 else None
        with open(f"{trial.workdir}.log", "ab") as log:
            # A process group of its own: Ctrl-C would reach it from the terminal and from here.
            child = subprocess.Popen(
                trial.command, stdout=log, stderr=log, env=environment, process_group=0
            )
            running.add(child)
            if stopped:  # between the question above and here
                child.send_signal(signal.SIGTERM)
            code = child.wait()
        running.discard(child)
        free.append(device)
        return code if code >= 0 else 128 - code

    def stop(signum, frame):
        nonlocal stopped
        stopped = True
        for child in [*running]:
            child.send_signal(signum)

    with _on_signals(stop), futures.ThreadPoolExecutor(parallel) as pool:
        waiting = {pool.submit(one, trial): trial for trial in trials}
        for done in futures.as_completed(waiting):
            yield waiting[done], done.result()


@contextlib.contextmanager
def _on_signals(handler: Callable) -> Iterator[None]:
    kept = {s: signal.signal(s, handler) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, before in kept.items():
            signal.signal(signum, before)


def _only(device: int) -> dict[str, str]:
    """The environment of a process that shall see one device of this machine: GPU and TPU."""
    return {
        "CUDA_VISIBLE_DEVICES": str(device),
        "TPU_VISIBLE_CHIPS": str(device),
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
    }
