"""Forgetting as a constraint: the teacher's weight follows a budget, which the end holds.

While a run trains, the weight rises as what is limited runs over its budget, and falls below it: a
multiplier, as in constrained optimisation (Stooke et al. 2020, "Responsive Safety in Reinforcement
Learning by PID Lagrangian Methods", arXiv:2007.03964). Between evaluations the divergence on
replayed windows stands for it, calibrated at each of them. At the end the line from the base to
the model is halved until the budget holds on the half of val that is chosen on.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping

import jax
import numpy as np

from data_pipeline.errors import UserError
from mypt_jax.monitor import observer
from mypt_jax.runs import layout
from mypt_jax.schema import changes
from mypt_jax.train.forgetting.guard import WATCHED

NAME = "limit"  # in the meta of a step, and in the lineage
_DOUBLINGS = 16  # of the weight over a whole run that is over or under its budget all the time
# At the peak rate this much more than the budget is aimed at, a share of the base's general loss or
# nats/token: what a rate adds goes as it falls, and what is over in the end the line takes back.
_ROOM = 0.01
_MOST = 4  # times the weight that a run begins with: beyond, the line costs less of the domain
_MEMORY = 0.9  # of the mean of the divergence, by updates
_HALVINGS = 10  # of the line at the end: a thousandth of the way


@dataclasses.dataclass
class _State:
    """What a saved step keeps."""

    weight: float
    due: float  # the weight from update number `due_at` on
    due_at: int = 0
    divergence: float = 0.0  # mean over updates, nats/token
    factor: float = 0.0  # of what is limited over the divergence, as it was evaluated; 0: not yet


class Limit(observer.Observer):
    """The weight of each update; that of the config where objective.max_forgetting is 0.

    It is a function of the figures up to two updates before, since those of one update are read
    while the next one runs: a run that was stopped anywhere gives the same bytes.
    """

    def __init__(self, config: Mapping, rates: Callable[[int], np.floating]):
        """`rates`: the learning rate by completed updates."""
        wanted = config["objective"]
        self.budget = wanted["max_forgetting"]
        self._rates, self._peak = rates, config["optim"]["peak_lr"]
        self._on = wanted["limit_on"]
        self._most = _MOST * wanted["replay_weight"]
        self._rate = _DOUBLINGS * math.log(2) / config["num_steps"]
        self._state = _State(wanted["replay_weight"], wanted["replay_weight"])

    def weight(self, update: int) -> np.float32:
        """Of update number `update`, the first being 1."""
        if update >= self._state.due_at:
            self._state.weight = self._state.due
        return np.float32(self._state.weight)

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        seen = figures.get("kl/replay", math.nan)
        if not self.budget or not math.isfinite(seen):
            return
        state = self._state
        state.divergence = _MEMORY * (state.divergence or seen) + (1 - _MEMORY) * seen
        if not state.factor:
            return
        aim = self.budget + _ROOM * float(self._rates(done)) / self._peak
        over = state.factor * state.divergence / aim - 1
        self.weight(done + 1)  # what was due for the next update stays so
        change = math.exp(self._rate * max(-1.0, min(1.0, over)))
        state.due = min(state.due * change, self._most)
        state.due_at = done + 2

    def at_row(self, row: Mapping) -> None:
        """Calibrates by an evaluation's row."""
        found = self._limited(row)
        if self.budget and found is not None and self._state.divergence:
            self._state.factor = max(found, self.budget / 100) / self._state.divergence

    def _limited(self, row: Mapping) -> float | None:
        if self._on == "drift":
            roles = {role for role in WATCHED if f"eval/{role}/drift" in row}
            return row[f"eval/{drifting(roles)}/drift"] if roles else None
        name = WATCHED[self._on]
        base_loss = row.get(f"{name}/base_loss")
        return None if base_loss is None else row[f"{name}/nats"] / base_loss

    def state(self) -> dict:
        return dataclasses.asdict(self._state) if self.budget else {}

    def restore(self, state: Mapping) -> None:
        """Goes on from what a step has saved; a run from before there were limits saved nothing."""
        if state:
            self._state = _State(**state)


def drifting(roles: Collection[str]) -> str:
    """The role on which drift is limited: general text, else the base's own words."""
    return next(role for role in WATCHED if role in roles)


def hold(
    params: Mapping, base: Mapping, limited: Callable[[Mapping], float], budget: float
) -> tuple[Mapping, float, float]:
    """(parameters, share, what is limited there): the point furthest from the base, on the line
    from there to `params`, that was seen inside the budget; the base itself where none was.

    `limited`: a share of the base's general loss, or nats/token.
    """
    found = limited(params)
    if found <= budget:
        return params, 1.0, found
    inside, outside, result = 0.0, 1.0, (base, 0.0, 0.0)
    for _ in range(_HALVINGS):
        share = (inside + outside) / 2
        point = _between(base, params, np.float32(share))
        found = limited(point)
        if found <= budget:
            inside, result = share, (point, share, found)
        else:
            outside = share
    return result


@jax.jit
def _between(base: Mapping, params: Mapping, share: jax.Array) -> Mapping:
    """base + share x (params - base), where they lie."""
    return jax.tree.map(lambda b, p: (b + share * (p - b)).astype(p.dtype), base, params)


def check_longer(record: Mapping, workdir: str) -> None:
    """Raises UserError where a finished run was drawn back, so that it cannot go on."""
    if changes.is_drawn_back(record):
        raise UserError(
            f"{workdir} was drawn back to its limit of forgetting when it finished, which another "
            "num_steps would undo: train it anew in another --config.workdir"
        )


def line(workdir: str, step: int, record: Mapping) -> str:
    """How a run held its limit, by both halves; "" where it had none."""
    held = record.get(NAME)
    if not held:
        return ""
    row = next((row for row in layout.metrics(workdir) if row["step"] == step), {})
    said = f"limit on {held['on']} {held['budget']:g}: {held['found']:.4g} where it was chosen"
    for role, name in WATCHED.items():
        if (percent := row.get(f"report/{name}/percent")) is not None:
            nats, stderr = (row[f"report/{name}/{key}"] for key in ("nats", "stderr"))
            bar = "" if stderr is None else f" +/- {stderr:.4f}"  # of one document there is none
            said += f", {role} {percent:+.2f} % ({nats:+.4f}{bar}) on the other half"
    return f"{said}; {held['share']:.3f} of the way from the base, weight {held['weight']:.3g}"
