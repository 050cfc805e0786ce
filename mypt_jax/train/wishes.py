"""What is wanted after a step: to save, to evaluate, to stop."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import jax

from mypt_jax.distributed import coordination
from mypt_jax.monitor import preemption
from mypt_jax.schema import duration


class Wish(NamedTuple):
    """Whatever is wanted, the step is saved first."""

    save: bool
    evaluate: bool
    stop: bool


class Wishes:
    """The configured intervals, and what any process asks of all: a signal may reach one only, and
    clocks differ."""

    def __init__(
        self,
        config: Mapping,
        *,
        requests: coordination.Requests,
        interrupts: preemption.Interrupts,
    ):
        self._config = config
        self._requests, self._interrupts = requests, interrupts
        self._last_save = time.monotonic()

    def after(self, done: int) -> Wish | None:
        """Called once per step by all processes; None where training goes on."""
        asked = self._requests.ask(self._request())
        every_steps = self._config["checkpoint"]["every_steps"]
        wish = Wish(
            save=asked != coordination.NOTHING or bool(every_steps) and done % every_steps == 0,
            evaluate=duration.is_evaluation_due(self._config, done),
            stop=asked == coordination.STOP,
        )
        return wish if any(wish) else None

    def saved(self) -> None:
        """A step was saved: its interval begins anew."""
        self._last_save = time.monotonic()
        self._requests.saved()

    def _request(self) -> int:
        if self._interrupts.reason():
            return coordination.STOP
        every_secs = self._config["checkpoint"]["every_secs"]
        if jax.process_index() == 0 and every_secs:
            if time.monotonic() - self._last_save >= every_secs:
                return coordination.SAVE
        return coordination.NOTHING
