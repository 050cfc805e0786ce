"""A trace of some steps for TensorBoard's profile tab or xprof: --config.profile.num_steps=5."""

import jax

from mypt_jax.runs import layout

DIRECTORY = "profile"


class Profiler:
    """Traces updates start_step + 1 .. start_step + num_steps of the process that it is in."""

    def __init__(self, workdir: str, *, start_step: int, num_steps: int):
        self._directory = layout.join(workdir, DIRECTORY)
        self._first, self._last = start_step, start_step + num_steps
        self._running = False

    def before_step(self, done: int) -> None:
        """A run that resumes inside the span traces what is left of it."""
        if not self._running and self._first <= done < self._last:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def after_step(self, done: int, figures: dict) -> str:
        """Ends the trace when its last step is done on the device; a line for the user or ""."""
        if not self._running or done < self._last:
            return ""
        jax.block_until_ready(figures)
        self.close()
        return f"profile of steps {self._first + 1} to {done}: {self._directory}"

    def close(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
