"""Where the losses of a stage will end, by how those of its lineage moved so far.

Of stages at one constant rate each, on text that is new to them, domain loss follows the sum S of
the learning rates of all updates since the base, whichever stage they were of:

    D = D0 - b ln(1 + S / s0)

and general loss soon stands above the base's by a multiple of the rate that it is trained at, as
long as the share of replay stays about the same. docs/adaptation.md says how well that was seen to
hold. Nothing is foretold of a stage of another kind.
"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax.foretell.lineage import ROLES, Stage
from mypt_jax.runs import comparison, layout

_COVERED = 0.9  # of an interval
_FEWEST = 3  # evaluations of the domain, stages for general: two would fit any line
_NEAR_REPLAY = 0.1  # shares of replay that are about the same


class Foretold(NamedTuple):
    """A final loss, nats/token; the interval is nan where there is too little to tell one."""

    loss: float
    low: float
    high: float

    def __str__(self) -> str:
        known = math.isfinite(self.low)
        return f"{self.loss:.3f}" + (f" ({self.low:.3f} to {self.high:.3f})" if known else "")


def foretell(stages: Sequence[Stage], *, epochs: float) -> dict[str, Foretold]:
    """{role: its loss at the end of the last stage}; `stages` are those since the base, `epochs`
    how often the last one will have gone through a domain source, all stages together.

    Raises UserError, which says why nothing can be foretold.
    """
    _check(stages, epochs)
    first = next((row for row in stages[0].rows if row["step"] == 0), None)
    if first is None:
        raise UserError("no stage has begun from the base yet")
    base = layout.losses(dict(first))
    if not base.keys() >= {*ROLES}:
        raise UserError(f"{stages[0].config['stage']} did not evaluate domain and general")
    last = stages[-1]
    found = {"domain": _domain(stages, base["domain"])}
    ratios = [
        (losses[-1][1]["general"] - base["general"]) / one.rate
        for one in stages
        if (losses := list(one.settled())) and abs(one.replay - last.replay) <= _NEAR_REPLAY
    ]
    if len(ratios) >= _FEWEST:  # one has no error, two agree by chance
        found["general"] = _general(base["general"], last.rate, np.array(ratios))
    return found


def _check(stages: Sequence[Stage], epochs: float) -> None:
    """Raises UserError where the law was not shown to hold."""
    if epochs > 1:
        raise UserError(f"the domain is read {epochs:.2f} times, and only new text is foretold")
    shape = {(one.config["batch_size"], one.config["model"]["block_size"]) for one in stages}
    if len(shape) > 1:
        raise UserError("the stages take batches of different sizes")
    for one in stages:
        stage, config = one.config["stage"], one.config
        kinds = {
            "optim.schedule": (config["optim"]["schedule"], "constant"),
            "optim.optimizer": (config["optim"]["optimizer"], "adamw"),
            "optim.moments": (config["optim"]["moments"], "fresh"),
            "model.param_dtype": (config["model"]["param_dtype"], "float32"),
            "objective.replay": (config["objective"]["replay"], "ce"),
            "optim.average_ratio": (config["optim"]["average_ratio"], 0.0),
            "adapter.rank": (config["adapter"]["rank"], 0),
        }
        for key, (value, wanted) in kinds.items():
            if value != wanted:
                raise UserError(f"{stage} has {key}={value}; only {wanted} is foretold")
        if (odd := one.odd_step) is not None:
            raise UserError(f"{stage} was not trained at one rate: see its step {odd}")
        for role in ROLES if one.start.sources else ():
            if reason := comparison.why_apart(one.start, stages[0].start, role):
                raise UserError(f"{stage} was evaluated on {role} text of its own: {reason}")


def _domain(stages: Sequence[Stage], base: float) -> Foretold:
    """By the law, fitted to all evaluations since the base."""
    before, sums, falls = 0.0, [], []
    for one in stages:
        for step, losses in one.settled():
            sums.append(before + one.rates_until(step))
            falls.append(base - losses["domain"])
        before += one.rates_until(one.steps)
    if len(sums) < _FEWEST:
        raise UserError(
            f"{len(sums)} evaluations since the base are too few, {_FEWEST} are wanted; with "
            "eval.schedule=geometric a stage has more of them early"
        )
    return _fitted(np.array(sums), np.array(falls), at=before, base=base)


def _fitted(sums_N: np.ndarray, falls_N: np.ndarray, *, at: float, base: float) -> Foretold:
    """Where the law that is nearest to these points is at the sum `at`."""
    import scipy.optimize  # here: half a second of every start, of use at evaluations alone

    def law(sums, slope, log_knee):
        return slope * np.log1p(sums / np.exp(log_knee))

    guess = (falls_N.max() / math.log(2), math.log(sums_N.max()))
    odd = UserError("the domain losses so far follow no curve")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            fit, covariance = scipy.optimize.curve_fit(law, sums_N, falls_N, guess, maxfev=10_000)
            loss = base - float(law(at, *fit))
            nudges = [(1e-4, 0.0), (0.0, 1e-4)]
            gradient = np.array([(law(at, *(fit + n)) - law(at, *fit)) / 1e-4 for n in nudges])
            spread = np.sum((falls_N - law(sums_N, *fit)) ** 2) / (len(sums_N) - len(fit))
            variance = float(gradient @ covariance @ gradient)
    except RuntimeError:
        raise odd from None
    if not (loss > 0 and math.isfinite(loss)):
        raise odd
    # What one evaluation is off by, its neighbours in the stage are, too: two count as one.
    # Of too straight a line the knee is not known, and the variance no finite number.
    error = math.sqrt(2 * max(0.0, variance) + spread) if math.isfinite(variance) else math.inf
    return _with_interval(loss, error, len(sums_N) // 2 - len(fit))


def _general(base: float, rate: float, ratios_N: np.ndarray) -> Foretold:
    """The base's loss, and as much of the rate as in the stages so far."""
    count = len(ratios_N)
    error = rate * ratios_N.std(ddof=1) * math.sqrt(1 + 1 / count)
    return _with_interval(base + rate * float(ratios_N.mean()), error, count - 1)


def _with_interval(loss: float, error: float, freedom: int) -> Foretold:
    """Of a new value whose standard error was estimated with `freedom` degrees (Student's t)."""
    if freedom < 1 or not math.isfinite(error):
        return Foretold(loss, math.nan, math.nan)
    import scipy.special

    width = float(scipy.special.stdtrit(freedom, (1 + _COVERED) / 2)) * error
    return Foretold(loss, loss - width, loss + width)
