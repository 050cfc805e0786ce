"""Schedules, decay mask and optimizer (optax)."""

import math
from collections.abc import Callable

import jax
import optax

SCHEDULES = ("constant", "cosine", "wsd")


def make_schedule(
    schedule: str,
    *,
    peak_lr: float,
    warmup_steps: int,
    num_steps: int,
    final_lr_ratio: float,
    decay_ratio: float,
) -> Callable[[int], float]:
    """Learning rate of update n = step + 1, where `step` counts completed updates.

    Warmup, all schedules: peak_lr * min(1, n / warmup_steps), as the original has it. After it:
      constant  peak_lr (the original at v8)
      cosine    half a cosine down to final_lr_ratio * peak_lr at n = num_steps (Loshchilov 2017)
      wsd       constant, then linear to final_lr_ratio * peak_lr over the last decay_ratio of
                num_steps (warmup-stable-decay, Hu et al. 2024, arXiv 2404.06395)
    """
    final_lr = final_lr_ratio * peak_lr

    def lr(step: int) -> float:
        n = step + 1
        if n < warmup_steps:
            return peak_lr * n / warmup_steps
        if schedule == "constant":
            return peak_lr
        if schedule == "cosine":
            done = min(1.0, (n - warmup_steps) / max(1, num_steps - warmup_steps))
            return final_lr + (peak_lr - final_lr) * 0.5 * (1 + math.cos(math.pi * done))
        decay_steps = max(1.0, decay_ratio * num_steps)
        done = min(1.0, max(0.0, (n - (num_steps - decay_steps)) / decay_steps))
        return peak_lr + (final_lr - peak_lr) * done

    return lr


def decay_mask(params: dict) -> dict:
    """True where weight decay applies: the matrices ("kernel"), the head among them.

    As the original: no decay on embeddings, norms and biases. By name, not by rank, because
    stacked blocks give every bias a layer axis.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def make_optimizer(
    *, beta1: float, beta2: float, eps: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """Clip, Adam, decoupled decay (Loshchilov and Hutter 2019), without the learning rate.

    The step multiplies by -lr itself, so that the schedule follows the run's own step.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps),
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
    )
