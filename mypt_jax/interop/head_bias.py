"""What dropping the output head's bias would cost, in nats, on both roles of a run's data."""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from data_pipeline import errors
from data_pipeline.batches import loader
from data_pipeline.tokens import shards
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.model import forward
from mypt_jax.model import gpt as model

WINDOWS = 64  # per source


def loss_change(
    params: Mapping, settings: Mapping, data: Mapping, *, eot: int
) -> dict[str, tuple[float, float]]:
    """{role: (loss with bias, loss without)}, nats/token on the val splits that `data` names.

    Raises UserError when no data is there.
    """
    device = jax.devices()[0]
    resolved = model.resolve(settings, device)
    gpt = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **resolved))
    mesh = sharding.make_mesh((1, 1, 1), [device])
    bind = forward.binder(nnx.split(gpt, nnx.Param)[0], mesh=mesh, eot=eot)
    measure = losses.make_measure(bind)
    without = {**params, "head": {**params["head"], "bias": 0 * params["head"]["bias"]}}
    changes = {}
    for role in ("domain", "general"):
        windows = _windows(data[role], settings["block_size"])
        if len(windows):
            changes[role] = _mean(measure, params, windows), _mean(measure, without, windows)
    if not changes:
        raise errors.UserError(
            "the run's config names no dataset, so what the bias is worth cannot be measured: "
            "--force drops it unmeasured"
        )
    return changes


def _windows(directories, block_size: int) -> np.ndarray:
    found = [np.zeros((0, block_size + 1), np.int32)]
    for directory in [directories] if isinstance(directories, str) else directories:
        for source in shards.open_dataset(directory).sources.values():
            plan = loader.eval_windows(source, block_size=block_size, num_windows=WINDOWS)
            found.append(plan.tokens)
    return np.concatenate(found)


def _mean(measure: losses.Measure, params: Mapping, windows: np.ndarray) -> float:
    """Mean over windows, in batches of 8; the last one is filled up with the first windows."""
    rows = np.arange(-(-len(windows) // 8) * 8) % len(windows)
    parts = [np.asarray(measure(params, windows[part])["nll"]) for part in rows.reshape(-1, 8)]
    return float(np.concatenate(parts)[: len(windows)].mean(dtype=np.float64))
