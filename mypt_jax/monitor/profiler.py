"""A trace of some steps for TensorBoard's profile tab or xprof: --config.profile.num_steps=5."""

from collections.abc import Callable, Mapping

import jax

from mypt_jax.monitor import observer
from mypt_jax.runs import layout

DIRECTORY = "profile"


class Profiler(observer.Observer):
    """Traces updates start_step + 1 .. start_step + num_steps of the process that it is in."""

    def __init__(
        self, workdir: str, *, start_step: int, num_steps: int, say: Callable[[str], None]
    ):
        self._say = say
        self._directory = layout.join(workdir, DIRECTORY)
        self._first, self._last = start_step, start_step + num_steps
        self._running = False

    def before_step(self, done: int) -> None:
        """A run that resumes inside the span traces what is left of it."""
        if not self._running and self._first <= done < self._last:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        """Ends the trace when the figures of its last step are there; it may have the beginning of
        the next step."""
        if self._running and done >= self._last:
            self.close()
            self._say(f"profile of steps {self._first + 1} to {done}: {self._directory}")

    def close(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
