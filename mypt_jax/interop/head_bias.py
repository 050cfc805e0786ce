"""The output head's bias, which GPT-2 lacks, as a part of the last norm's, and what that costs."""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from data_pipeline import errors
from data_pipeline.batches import eval_windows, mixture
from data_pipeline.tokens import check
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.model import forward
from mypt_jax.model import gpt as model

WINDOWS = 64  # per source


def fold(params: Mapping, *, tied: bool) -> dict:
    """Parameters without the head's bias, most of it in the last norm's.

    logits = n K + b, and n has a bias of its own: adding d to it adds d K. The d is that of least
    squares, up to one number for all tokens, which softmax does not see. Exact where b lies in the
    span of K's rows; of a bias that was learned beside the norm's, a part does.
    """
    params = dict(params)
    head = dict(params.get("head", {}))
    bias_V = np.asarray(head.pop("bias"), np.float64)
    tokens = np.asarray(params["embed"]["tokens"], np.float64)
    kernel_DV = tokens.T if tied else np.asarray(head["kernel"], np.float64)
    centred_DV = kernel_DV - kernel_DV.mean(axis=1, keepdims=True)
    # By the normal equations, [D, D]: the vocabulary is long.
    square_DD, aim_D = centred_DV @ centred_DV.T, centred_DV @ (bias_V - bias_V.mean())
    shift_D = np.linalg.lstsq(square_DD, aim_D, rcond=None)[0]
    norm = dict(params["ln_f"])
    own = np.asarray(norm["bias"])
    norm["bias"] = (own.astype(np.float64) + shift_D).astype(own.dtype)
    params["ln_f"] = norm
    if head:
        return {**params, "head": head}
    return {name: part for name, part in params.items() if name != "head"}


def loss_change(
    params: Mapping, without: Mapping, settings: Mapping, data: Mapping, *, eot: int
) -> dict[str, tuple[float, float]]:
    """{role: (loss with bias, loss of the parameters `without`)}, nats/token on the val splits that
    `data` names. Raises UserError when no data is there.
    """
    device = jax.devices()[0]
    resolved = model.resolve(settings, device)
    gpt = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **resolved))
    mesh = sharding.make_mesh((1, 1, 1), [device])
    bind = forward.binder(nnx.split(gpt, nnx.Param)[0], mesh=mesh, eot=eot)
    measure = losses.make_measure(bind)
    none = 0 * params["head"]["bias"]
    without = {**without, "head": {**without.get("head", {}), "bias": none}}
    changes = {}
    for role in mixture.ROLES:
        windows = _windows(data, role, settings["block_size"])
        if len(windows):
            changes[role] = _mean(measure, params, windows), _mean(measure, without, windows)
    if not changes:
        raise errors.UserError(
            "the run's config names no dataset, so what folding its head bias costs cannot be "
            "measured: --keep_head_bias exports it as it is, --force folds unmeasured"
        )
    return changes


def _windows(data: Mapping, role: str, block_size: int) -> np.ndarray:
    """Of the role's val splits, which are checked: int32[W, block_size + 1]."""
    if data.get("mixture"):
        opened = mixture.from_manifest(data["mixture"]).components
    else:
        opened = mixture.components_of(role, tuple(data[role]))
    sources = [one.data for one in opened if one.role == role]
    check.check((source, "val") for source in sources)
    found = [np.zeros((0, block_size + 1), np.int32)]
    for source in sources:
        plan = eval_windows.eval_windows(source, block_size=block_size, num_windows=WINDOWS)
        found.append(plan.tokens)
    return np.concatenate(found)


def _mean(measure: losses.Measure, params: Mapping, windows: np.ndarray) -> float:
    """Mean over windows, in batches of 8; the last one is filled up with the first windows."""
    rows = np.arange(-(-len(windows) // 8) * 8) % len(windows)
    parts = [np.asarray(measure(params, windows[part])["nll"]) for part in rows.reshape(-1, 8)]
    return float(np.concatenate(parts)[: len(windows)].mean(dtype=np.float64))
