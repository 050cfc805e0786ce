"""Guards: forgetting at evaluations, non-finite steps and loss spikes between them.

Plain Python over numbers that the device has already judged; the loop acts on what is returned.
"""

import math
from collections.abc import Mapping

from mypt_jax import exits

# Limits of the guide, as share of the base stage's general loss: 2.25, 2.35, 2.40 and 2.50 there
# are +1 %, +5.5 %, +8 % and +12 % of its 2.23.
VERDICTS = (
    (0.01, "excellent preservation"),
    (0.055, "good preservation"),
    (0.08, "acceptable for a domain model"),
    (0.12, "beyond the guide's runs"),
)
RISK = "catastrophic forgetting risk"
LOW_REPLAY = 0.10  # the guide: a smaller share of general text risks catastrophic forgetting
NOT_WORTH_IT = 0.15  # the guide: more than 15 % general loss is usually not worth it


def verdict(forgetting: float) -> str:
    """The guide's word for a general loss that is `forgetting` (a share) above the base stage's."""
    for limit, word in VERDICTS:
        if forgetting <= limit:
            return word
    return RISK if forgetting <= NOT_WORTH_IT else f"{RISK}, usually not worth it"


def forgetting(general_loss: float, baseline_loss: float) -> dict[str, float]:
    """General loss against the base stage's, in nats/token and in percent."""
    nats = general_loss - baseline_loss
    return {"forgetting/nats": nats, "forgetting/percent": 100 * nats / baseline_loss}


def judge(
    *,
    general_loss: float,
    baseline_loss: float,
    stderr: float,
    action: str,
    max_forgetting: float,
) -> tuple[str, str]:
    """("" or "warn", or `action` when max_forgetting is passed, and the line that says why).

    A limit is passed when the loss is above it by more than two standard errors; an unknown error
    (nan) counts as none. The guide's lower limits are warnings.
    """
    share = general_loss / baseline_loss - 1
    figures = (
        f"general loss {general_loss:.4f}, base {baseline_loss:.4f} nats/token: forgetting "
        f"{100 * share:+.1f} % ({verdict(share)})"
    )
    noise = 2 * stderr if math.isfinite(stderr) else 0.0

    def is_passed(limit: float) -> bool:
        return general_loss - baseline_loss * (1 + limit) > noise

    if is_passed(max_forgetting):
        return action, f"{figures}, limit {100 * max_forgetting:g} %"
    lower = [limit for limit, _ in VERDICTS if limit < max_forgetting and is_passed(limit)]
    if not lower:
        return "", figures
    return "warn", f"{figures}, over the guide's {100 * max(lower):g} %"


class StepGuard:
    """Counts non-finite steps and finds loss spikes. Its state is saved with every checkpoint."""

    def __init__(
        self,
        *,
        max_nonfinite_steps: int,
        spike_sigma: float,
        spike_window: int,
        skip_spikes: bool,
    ):
        self._max_nonfinite = max_nonfinite_steps
        self._sigma = spike_sigma
        self._window = spike_window
        self._skip_spikes = skip_spikes  # done on the device, said here
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
