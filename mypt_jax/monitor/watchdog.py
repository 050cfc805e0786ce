"""Ends a process that hangs: when nothing was finished for a while, all stacks are shown."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Mapping

from mypt_jax import console, exits
from mypt_jax.monitor import observer


class Watchdog(observer.Observer):
    """`beat` after every step, evaluation batch and save; `limit_secs` without one is the end."""

    def __init__(self, limit_secs: float):
        """0 = off."""
        self._limit_secs = limit_secs
        self._last = time.monotonic()
        self._closed = threading.Event()
        if limit_secs:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        self._last = time.monotonic()

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        self.beat()

    def at_save(self, done: int) -> None:
        self.beat()

    def at_evaluation(self, done: int) -> None:
        self.beat()

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_secs / 4)):
            silent_secs = time.monotonic() - self._last
            if silent_secs <= self._limit_secs:
                continue
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            line = (
                f"error: nothing finished for {silent_secs:.0f} s (watchdog_secs "
                f"{self._limit_secs:g}); stacks of all threads above; the newest checkpoint is "
                "intact, run the same command again to resume"
            )
            console.say_at_once(line)
            # A thread that hangs cannot be asked to clean up.
            os._exit(exits.WatchdogTimeout.code)
