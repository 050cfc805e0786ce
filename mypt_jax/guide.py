"""The guide's limits of forgetting, and its words for what is inside and beyond them."""

import math

# The guide's general losses are of its own base, 2.227 nats/token: limits here are shares of that.
VERDICTS = (
    (2.25 / 2.227 - 1, "excellent preservation"),
    (2.35 / 2.227 - 1, "good preservation"),
    (2.40 / 2.227 - 1, "acceptable for a domain model"),
    (2.50 / 2.227 - 1, "beyond the guide's runs"),
)
_OF = {"forgetting": "general", "behaviour": "behaviour"}
RISK = "catastrophic forgetting risk"
LOW_REPLAY = 0.10  # the guide: a smaller share of general text risks catastrophic forgetting
NOT_WORTH_IT = 0.15  # the guide: more than 15 % general loss is usually not worth it


def percent(limit: float) -> str:
    """How a limit is written: 1.03 %, 12.3 %."""
    return f"{100 * limit:.3g} %"


def verdict(forgetting: float) -> str:
    """The guide's word for a general loss that is `forgetting` (a share) above the base stage's."""
    for limit, word in VERDICTS:
        if forgetting <= limit:
            return word
    return RISK if forgetting <= NOT_WORTH_IT else f"{RISK}, usually not worth it"


def judge(
    *,
    loss: float,
    baseline_loss: float,
    stderr: float,
    action: str,
    max_forgetting: float,
    name: str = "forgetting",
) -> tuple[str, str]:
    """("" or "warn", or `action` when max_forgetting is passed, and the line that says why).

    `loss`: of general text, or of the base's own words, whose change is called `name`.
    A limit is passed when the loss is above it by more than two standard errors; an unknown error
    (nan) counts as none. The guide's lower limits are warnings.
    """
    share = loss / baseline_loss - 1
    figures = (
        f"{_OF[name]} loss {loss:.4f}, base {baseline_loss:.4f} nats/token: {name} "
        f"{100 * share:+.1f} % ({verdict(share)})"
    )
    noise = 2 * stderr if math.isfinite(stderr) else 0.0

    def is_passed(limit: float) -> bool:
        return loss - baseline_loss * (1 + limit) > noise

    if is_passed(max_forgetting):
        return action, f"{figures}, limit {percent(max_forgetting)}"
    lower = [limit for limit, _ in VERDICTS if limit < max_forgetting and is_passed(limit)]
    if not lower:
        return "", figures
    return "warn", f"{figures}, over the guide's {percent(max(lower))}"
