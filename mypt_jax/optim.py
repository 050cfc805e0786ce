"""Optimizers and schedules by name: a new one is a function here and a row of its table."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_BLOCK = 65_536  # updates whose rates are computed at a time


def only(group: Mapping, function: Any) -> dict:
    """The entries of a config group that `function` takes by name."""
    return {name: group[name] for name in _names(function) if name in group}


def _names(function: Any) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def adamw(*, beta1: float, beta2: float, eps: float) -> optax.GradientTransformation:
    """Adam; with the decoupled decay below AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101)."""
    return optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps)


def lion(*, beta1: float, beta2: float) -> optax.GradientTransformation:
    """The sign of a momentum, one moment instead of two (Chen et al. 2023, arXiv 2302.06675). It
    wants a third to a tenth of AdamW's rate and as much more decay."""
    return optax.scale_by_lion(b1=beta1, b2=beta2)


OPTIMIZERS = {"adamw": adamw, "lion": lion}


def make_optimizer(
    optim: Mapping, *, is_matrix: Callable[[Any], Any]
) -> optax.GradientTransformation:
    """Clip, the optimizer of `config.optim`, decoupled decay, without the learning rate.

    The step multiplies by -lr itself, so that the schedule follows the run's own step.
    `is_matrix(params)`: where weight decay applies; as the original not on embeddings, norms,
    biases.
    """
    function = OPTIMIZERS[optim["optimizer"]]
    return optax.chain(
        optax.clip_by_global_norm(optim["clip_norm"]),
        function(**only(optim, function)),
        optax.add_decayed_weights(optim["weight_decay"], mask=is_matrix),
    )


def constant(*, peak_lr: float) -> optax.Schedule:
    """peak_lr (the original at v8)."""
    return optax.constant_schedule(peak_lr)


def cosine(
    *, peak_lr: float, warmup_steps: int, num_steps: int, final_lr_ratio: float
) -> optax.Schedule:
    """Half a cosine down to final_lr_ratio * peak_lr at num_steps (Loshchilov and Hutter 2017,
    arXiv 1608.03983)."""
    steps = max(1, num_steps - warmup_steps)
    return optax.cosine_decay_schedule(peak_lr, steps, alpha=final_lr_ratio)


def wsd(
    *,
    peak_lr: float,
    warmup_steps: int,
    num_steps: int,
    final_lr_ratio: float,
    decay_ratio: float,
) -> optax.Schedule:
    """Constant, then linear to final_lr_ratio * peak_lr over the last decay_ratio of num_steps
    (warmup-stable-decay, Hu et al. 2024, arXiv 2404.06395)."""
    steps = max(1.0, decay_ratio * num_steps)
    rise = optax.linear_schedule(final_lr_ratio * peak_lr, peak_lr, steps)  # ty: ignore[invalid-argument-type]
    # Counted from the end, since the decay need not begin at a whole step.
    return lambda count: rise(jnp.maximum(0, num_steps - warmup_steps - count))


SCHEDULES = {"constant": constant, "cosine": cosine, "wsd": wsd}


def rate_keys() -> list[str]:
    """Names of the keys that decide the rate of a step: of the warmup, and of every schedule."""
    taken = {name: None for one in SCHEDULES.values() for name in _names(one)}
    own = ("schedule", "peak_lr", "warmup_steps")
    names = dict.fromkeys((*own, *(name for name in taken if name != "num_steps")))
    return ["num_steps", *(f"optim.{name}" for name in names)]


class Rates:
    """rates(step): the learning rate of update n = step + 1, `step` counting completed updates.

    Warmup of all schedules: peak_lr * n / warmup_steps, as the original has it, or in a straight
    line from `first_lr`, the last rate of a parent whose moments go on. Computed ahead in blocks on
    the CPU: a schedule called at each step would take milliseconds and wait for a device.
    With `rewarm` (completed updates, steps) the schedule is warmed up again from there: moments
    that begin at zero know no scale yet.
    """

    def __init__(
        self,
        optim: Mapping,
        *,
        num_steps: int,
        first_lr: float = 0.0,
        rewarm: tuple[int, int] | None = None,
    ):
        function = SCHEDULES[optim["schedule"]]
        after = function(**only({**optim, "num_steps": num_steps}, function))
        warmup = int(optim["warmup_steps"])
        self._schedule = after
        if warmup:  # optax takes no warmup of no steps
            rise = optax.linear_schedule(first_lr, optim["peak_lr"], warmup)
            self._schedule = optax.join_schedules([rise, after], [warmup])
        self._num_steps, self._rewarm = num_steps, rewarm
        self._blocks: dict[int, np.ndarray] = {}

    def __call__(self, step: int) -> np.float32:
        number, place = divmod(step, _BLOCK)
        if number not in self._blocks:
            first = number * _BLOCK + 1
            last = max(step + 1, min(self._num_steps, first + _BLOCK - 1))
            self._blocks = {number: self._compute(np.arange(first, last + 1))}
        block = self._blocks[number]
        return block[place] if place < len(block) else self._compute(np.array([step + 1]))[0]

    def _compute(self, updates: np.ndarray) -> np.ndarray:
        """float32[N]; in float64 until then, where a rate near 0 would be a difference of two."""
        with _on_cpu(), jax.enable_x64(True):
            rates = np.asarray(self._schedule(updates), np.float32)
        rates = np.broadcast_to(rates, updates.shape)  # of a constant one comes a single number
        if self._rewarm is None:
            return rates
        after, steps = self._rewarm
        is_before = updates <= after
        share = np.where(is_before, 1.0, np.minimum(1.0, (updates - after) / max(1, steps)))
        return (rates * share).astype(np.float32)


def _on_cpu():
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS names the accelerator alone
        return contextlib.nullcontext()
