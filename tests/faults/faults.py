"""Faults that signals and files cannot make: changes to the trainer, applied before it starts.

They stand here and not in the product: it has no hooks. Each function is named by a test and runs
in the process of the trainer only (zygote.py).
"""

import threading
import time


def slow_steps(secs: float) -> None:
    """Every step takes `secs` longer, so that a signal can be aimed at one."""
    from mypt_jax.train import loop

    plain = loop._observe

    def observe(work, done, figures):
        time.sleep(secs)
        return plain(work, done, figures)

    loop._observe = observe


def wait_at(step: int, path: str) -> None:
    """The main thread waits at reading this step until the file `path` is there."""
    import os

    from mypt_jax.train import loop

    plain = loop._observe

    def observe(work, done, figures):
        if done == step:
            print("waiting", flush=True)
        while done == step and not os.path.exists(path):
            time.sleep(0.05)
        return plain(work, done, figures)

    loop._observe = observe


def every_record() -> None:
    """goodput.json is written after every step, and not once a second."""
    from mypt_jax.monitor import goodput

    goodput._FLUSH_SECS = -1.0


def slow_evaluation(secs: float) -> None:
    """Every batch of an evaluation takes `secs` longer."""
    from mypt_jax.evaluate import losses

    plain = losses.score

    def score(*args, between_batches, **more):
        def slower():
            print("evaluation batch", flush=True)
            time.sleep(secs)
            between_batches()

        return plain(*args, between_batches=slower, **more)

    losses.score = score


def _hold_in_c(secs: float) -> None:
    """The main thread stays in C: no Python signal handler runs."""
    import ctypes

    libc = ctypes.CDLL(None)
    end = time.monotonic() + secs
    while time.monotonic() < end:  # a signal ends one C sleep, not the next
        libc.usleep(200_000)


def blocked_in_validation(secs: float) -> None:
    """Reading the data holds the main thread in C, before a device was touched."""
    from mypt_jax.schema import validation

    plain = validation.validate

    def validate(*args, **more):
        print("validating", flush=True)
        _hold_in_c(secs)
        return plain(*args, **more)

    validation.validate = validate


def blocked_in_compilation(secs: float) -> None:
    """The first step holds the main thread in C, as a compilation does."""
    from mypt_jax.train import step

    plain = step.build

    def build(*args, **more):
        program = plain(*args, **more)

        def first(*step_args):
            print("compiling", flush=True)
            _hold_in_c(secs)
            return program.step(*step_args)

        return program._replace(step=first)

    step.build = build


def closed_console() -> None:
    """What Python makes of `>&- 2>&-`."""
    import os
    import sys

    sys.stdout = sys.stderr = None
    os.close(1)
    os.close(2)


def slow_commit(secs: float) -> None:
    """The background part of a save takes `secs` longer."""
    from mypt_jax.runs import integrity

    plain = integrity.write_manifest

    def write_manifest(directory, *more):
        print(f"committing {directory}", flush=True)
        time.sleep(secs)
        return plain(directory, *more)

    integrity.write_manifest = write_manifest


def die_at(point: str, step: int) -> None:
    """SIGKILL from inside, at a named moment of the save of `step` or of a later removal."""
    import os
    import shutil
    import signal
    import threading

    from mypt_jax.checkpoint import retention
    from mypt_jax.runs import integrity, lineage

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def before(module, name, condition):
        plain = getattr(module, name)

        def replaced(*args, **more):
            if condition(*args):
                die()
            return plain(*args, **more)

        setattr(module, name, replaced)

    def of_step(path, *_):
        return f"{step:08d}" in str(path)

    if point == "writing arrays":
        plain = retention.mark

        def mark(path):
            plain(path)
            if of_step(path):
                threading.Timer(0.02, die).start()

        retention.mark = mark
    elif point == "before meta":
        before(lineage, "write_json", lambda path, _: of_step(path))
    elif point == "before manifest":
        before(integrity, "_publish", of_step)
    elif point == "before rename of manifest":
        before(os, "replace", lambda a, b: of_step(b) and b.endswith(integrity.MANIFEST))
    elif point == "removing":
        before(shutil, "rmtree", lambda path, *_: of_step(path) and os.path.isabs(path))
    else:
        raise ValueError(point)


def file_size_limit(limit_bytes: int, after_step: int) -> None:
    """A real limit of the system (EFBIG): files cannot grow any more, as on a full disk."""
    import resource

    from mypt_jax.checkpoint import save as checkpointer

    plain = checkpointer.Checkpointer.save

    def save(self, step, state, meta):
        if step >= after_step:
            self.wait()  # the step before is to succeed
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        plain(self, step, state, meta)

    checkpointer.Checkpointer.save = save


def full_disk_for_metrics(first: int, last: int) -> None:
    """The rows from step `first` to `last` meet /dev/full instead of their file."""
    from mypt_jax.monitor import metrics

    plain, append = metrics.Metrics.write, metrics.Metrics._append

    def write(self, row):
        self.step = row["step"]
        plain(self, row)

    def _append(self):
        path = self._path
        if first <= self.step <= last:
            self._path = "/dev/full"
        try:
            append(self)
        finally:
            self._path = path

    metrics.Metrics.write, metrics.Metrics._append = write, _append


def clock_jumps_back(secs: float) -> None:
    """time.time() goes back once the trainer is loaded; every reading is the same second."""
    frozen = time.time() - secs
    time.time = lambda: frozen


def poisoned(nan_at=(), inf_gradient_at=(), spike_at=(), nan_evaluations=()) -> None:
    """Loss, gradient or evaluation of these steps (counted from 1) go wrong on the device."""
    import jax
    import jax.numpy as jnp

    from mypt_jax.evaluate import losses
    from mypt_jax.train import step

    plain_step, plain_gradients = step._train_step, step._loss_and_gradients

    def train_step(state, *args, **more):
        def at(steps):
            return jnp.any(jnp.array([-1, *steps]) == state["step"] + 1)

        def loss_and_gradients(*inner):
            (value, figures), gradients = plain_gradients(*inner)
            value = jnp.where(at(nan_at), jnp.nan, jnp.where(at(spike_at), value * 100, value))
            bad = at(inf_gradient_at)
            gradients = jax.tree.map(lambda x: jnp.where(bad, jnp.inf, x), gradients)
            return (value, figures), gradients

        step._loss_and_gradients = loss_and_gradients
        return plain_step(state, *args, **more)

    step._train_step = train_step
    plain_score = losses.score
    count = iter(range(1000))

    def score(*args, **more):
        scores = plain_score(*args, **more)
        if next(count) in nan_evaluations:
            for one in scores.values():
                one.nll_sum_D[:] = float("nan")
        return scores

    losses.score = score


def hang_at(step: int) -> None:
    """The main thread never returns from reading this step."""
    from mypt_jax.monitor import watchdog
    from mypt_jax.train import loop

    plain = loop._observe

    def observe(work, done, figures):
        if done == step:
            (dog,) = [o for o in work.run.observers._observers if isinstance(o, watchdog.Watchdog)]
            dog._limit_secs = 1.5  # not before: this machine may be slow to start
            time.sleep(3600)
        return plain(work, done, figures)

    loop._observe = observe


def slow_loader(secs: float) -> None:
    """Every batch is waited for `secs`, however long a step takes: it is begun when it is."""
    from data_pipeline.batches import loader

    plain, take = loader.TrainLoader.batch, loader.Prefetch._take
    close = loader.Prefetch.close
    wanted = threading.Semaphore(0)

    def batch(self, number):
        if threading.current_thread().name == "prefetch":
            wanted.acquire()
            time.sleep(secs)
        return plain(self, number)

    def wanting(self):
        wanted.release()
        return take(self)

    def closing(self):
        wanted.release()
        close(self)

    loader.TrainLoader.batch, loader.Prefetch._take = batch, wanting
    loader.Prefetch.close = closing


def small_pages() -> None:
    """A shard is opened anew for every window: nothing is kept mapped."""
    from data_pipeline.tokens import streams

    plain = streams.ShardStream._read_part

    def read(self, index, start, stop):
        self._maps.clear()
        return plain(self, index, start, stop)

    streams.ShardStream._read_part = read


def lease_times(renew_secs: float, stale_secs: float, host: str) -> None:
    """Shorter times, and another host name."""
    import socket

    from mypt_jax.runs import lease

    lease.RENEW_SECS, lease.STALE_SECS = renew_secs, stale_secs
    socket.gethostname = lambda: host
    lease._machine = lambda: host


def no_network() -> None:
    """Every connection but that to a local socket fails."""
    import socket

    plain = socket.socket.connect

    def connect(self, address):
        if self.family != socket.AF_UNIX:
            raise OSError(f"no network: {address}")
        return plain(self, address)

    socket.socket.connect = connect


def crash_at(step: int) -> None:
    """An error nobody expected, with a secret in its message."""
    from mypt_jax.train import loop

    plain = loop._observe

    def observe(work, done, figures):
        if done == step:
            raise RuntimeError("cannot reach https://user:pa55word@host/x with hf_token=hf_abcdef")
        return plain(work, done, figures)

    loop._observe = observe
