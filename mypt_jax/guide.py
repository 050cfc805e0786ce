"""The guide's limits of forgetting, and its words for what is inside and beyond them."""

import math

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
