"""Counts non-finite steps and finds loss spikes: plain Python over numbers that the device has
already judged."""

import math
from collections.abc import Callable, Mapping

from mypt_jax import exits
from mypt_jax.monitor import observer


class StepGuard(observer.Observer):
    """Its state is saved with every checkpoint."""

    def __init__(
        self,
        *,
        max_nonfinite_steps: int,
        spike_sigma: float,
        spike_window: int,
        skip_spikes: bool,
        say: Callable[[str], None] = lambda line: None,
        name_batch: Callable[[int], str] = lambda done: "",
    ):
        """`say(line)` tells the user; `name_batch(number)` says which text a batch was."""
        self._max_nonfinite = max_nonfinite_steps
        self._sigma = spike_sigma
        self._window = spike_window
        self._skip_spikes = skip_spikes  # done on the device, said here
        self._say, self._name_batch = say, name_batch
        self._losses: list[tuple[int, float]] = []  # (step, loss), finite ones only
        self.nonfinite_steps = 0
        self._in_a_row = 0

    def state(self) -> dict:
        return {
            "losses": [list(entry) for entry in self._losses],
            "nonfinite_steps": self.nonfinite_steps,
            "in_a_row": self._in_a_row,
        }

    def restore(self, state: Mapping) -> None:
        self._losses = [(step, loss) for step, loss in state["losses"]]
        self.nonfinite_steps = state["nonfinite_steps"]
        self._in_a_row = state["in_a_row"]

    def threshold(self, step: int) -> float:
        """Loss above which `step` is a spike: mean + sigma * std of the window, inf until full.

        It looks at finite losses up to step - 2 only: the loop reads losses one step late, a
        resumed one has them all, and the threshold must be the same in both.
        """
        losses = [loss for at, loss in self._losses if at <= step - 2][-self._window :]
        if len(losses) < self._window:
            return math.inf
        mean = sum(losses) / len(losses)
        std = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / len(losses))
        return mean + self._sigma * std

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        """Raises Divergence, naming the batch."""
        try:
            note = self.add(done, figures["loss"], figures["grad_norm"])
        except exits.Divergence as error:
            raise exits.Divergence(f"{error}; {self._name_batch(done - 1)}") from error
        if note:
            self._say(f"warning: {note}; {self._name_batch(done - 1)}")

    def add(self, step: int, loss: float, grad_norm: float) -> str:
        """Takes one step's figures; returns a line for the user, or "". Raises Divergence."""
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self.nonfinite_steps += 1
            self._in_a_row += 1
            if self._in_a_row >= self._max_nonfinite:
                raise exits.Divergence(
                    f"step {step}: {self._in_a_row} non-finite steps in a row (loss {loss}, "
                    f"grad_norm {grad_norm}); these steps changed no parameters; a lower "
                    "optim.peak_lr is the usual remedy"
                )
            return f"step {step}: loss {loss}, grad_norm {grad_norm}: parameters left unchanged"
        self._in_a_row = 0
        limit = self.threshold(step)
        self._losses = [*self._losses, (step, loss)][-(self._window + 2) :]
        if loss <= limit:
            return ""
        kept = ": parameters left unchanged" if self._skip_spikes else ""
        return f"step {step}: loss spike {loss:.4f}, threshold {limit:.4f}{kept}"
