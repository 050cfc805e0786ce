"""Notices that another process of the run is gone or frozen, wherever this one waits for it.

Each process renews a value at the coordinator. JAX would notice as well, but ends all processes by
an abort without saying which one was missed; its own limit is set a minute later.
"""

import contextlib
import itertools
import os
import threading
import time

import jax

from mypt_jax import console, exits
from mypt_jax.distributed import coordination

_FOLDER = "mypt_jax/heartbeat/"
_BYE = "bye"
_SILENT_SECS = 60  # for those who are gone to miss some beats


class Heartbeat:
    """A context in which other processes are listened to; does nothing where there is one."""

    def __init__(self, timeout_secs: float):
        self._timeout_secs = timeout_secs
        self._every_secs = min(10.0, timeout_secs / 5)
        self._closed = threading.Event()
        self._here = jax.process_index()
        now = time.monotonic()
        self._heard = {str(i): ("", now) for i in range(jax.process_count()) if i != self._here}
        self._answered = now
        if self._heard:
            for work in (self._beat, self._watch):
                threading.Thread(target=work, name="heartbeat", daemon=True).start()

    def __enter__(self) -> "Heartbeat":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """A process that leaves alone says nothing: the others are to notice."""
        self._closed.set()
        if self._heard and coordination.is_shared(error):
            with coordination.lost_peer_after(self._timeout_secs, "say that they leave"):
                self._say(_BYE)

    def _say(self, value: str) -> None:
        key = f"{_FOLDER}{self._here}"
        coordination.client().key_value_set(key, value, allow_overwrite=True)

    def _beat(self) -> None:
        """Its own thread: a coordinator that is frozen answers nothing, not even with an error."""
        for count in itertools.count(1):
            if self._closed.wait(self._every_secs):
                return
            with contextlib.suppress(RuntimeError):  # told by `_watch` when it lasts
                self._beat_once(count)

    def _beat_once(self, count: int) -> None:
        self._say(str(count))
        values = coordination.client().key_value_dir_get(_FOLDER)
        self._answered = time.monotonic()
        for key, value in values:
            other = key.rpartition("/")[2]
            if other in self._heard and self._heard[other][0] != value:
                self._heard[other] = value, self._answered

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._every_secs)):
            missing = self._missing(self._timeout_secs)
            if missing and not self._closed.is_set():
                line = (
                    f"error: {missing} has not been heard of for {self._timeout_secs:g} s "
                    "(distributed.timeout_secs): run all of them again to resume"
                )
                console.say_at_once(line)
                # The main thread may hang in a computation with the one that is gone.
                os._exit(exits.LostPeer.code)

    def who_is_missing(self) -> str:
        """After a computation has failed: who is not heard of any more, waited for."""
        deadline = time.monotonic() + _SILENT_SECS
        while time.monotonic() < deadline:
            missing = self._missing(3.5 * self._every_secs)
            if missing:
                return missing
            time.sleep(0.2)
        return "it is not known which"

    def _missing(self, secs: float) -> str:
        """Who has not been heard of for so long."""
        now = time.monotonic()
        if now - self._answered > secs:
            return "process 0, the coordinator," if self._here else "the coordinator"
        silent = [
            f"process {index}"
            for index, (value, heard) in self._heard.items()
            if value != _BYE and min(now, self._answered) - heard > secs
        ]
        return ", ".join(silent)
