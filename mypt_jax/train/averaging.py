"""The mean of the parameters over the last share of a run, as a part of its state.

A mean replaces the decay of the rate, without a decision when to begin it (Li et al. 2025, "WSM",
arXiv 2507.17634). It begins at a step that is fixed at the start, and is the result of the run.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from data_pipeline.errors import UserError

NAME = "average"  # of the part of the state, and of its scores
BEGIN = "average_from"  # in the lineage: the step after which updates are averaged


def begin_of(config: Mapping) -> int | None:
    """Completed updates after which parameters are averaged; None where they are not."""
    ratio, num_steps = config["optim"]["average_ratio"], config["num_steps"]
    return num_steps - max(1, round(ratio * num_steps)) if ratio else None


def initial(params: Mapping) -> Mapping:
    """The mean of nothing, fp32 whatever the parameters have: small differences are summed."""
    return jax.tree.map(lambda p: p.astype(jnp.float32), params)


def add(average: Mapping, params: Mapping, step: jax.Array, begin: ArrayLike) -> Mapping:
    """The mean of the parameters after updates begin + 1 .. step; until then the parameters."""
    count = jnp.maximum(1, step - begin).astype(jnp.float32)

    def mean(a, p):
        wide = p.astype(jnp.float32)
        return jnp.where(count == 1, wide, a + (wide - a) / count)

    return jax.tree.map(mean, average, params)


def result(state: Mapping) -> Mapping:
    """The state at the end of a run: the mean in the place of the parameters, which children and
    evaluations find there without knowing of it, and the parameters in the place of the mean."""
    if NAME not in state:
        return state
    raw, mean = state["params"], state[NAME]
    return {
        **state,
        "params": jax.tree.map(lambda a, p: a.astype(p.dtype), mean, raw),
        NAME: jax.tree.map(lambda p: p.astype(jnp.float32), raw),
    }


def check_resume(record: dict, config: Mapping, done: int) -> None:
    """Raises UserError where a config would average other updates than those that were; else
    writes into the lineage where the mean begins now."""
    before, now = record.get(BEGIN), begin_of(config)
    if before == now:
        return
    begun = [step for step in (before, now) if step is not None and done > step]
    if begun or (before is None) != (now is None):
        raise UserError(
            f"num_steps {config['num_steps']} and optim.average_ratio "
            f"{config['optim']['average_ratio']:g} begin the average after step {now}, but "
            f"{config['workdir']} is at step {done} and began with {before}: both stay as they "
            "were, or another --config.workdir"
        )
    record[BEGIN] = now
