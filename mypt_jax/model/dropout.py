"""Dropout, and where its random bits come from.

Axes: B batch, L length, D n_embd.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

AUTO = "auto"


def resolve(name: str, device: jax.Device) -> str:
    """auto is the hash on a TPU, where drawing by threefry is a twentieth of a step by the
    compiler's estimate (docs/scaling.md), and threefry elsewhere."""
    if name != AUTO:
        return name
    return "hash" if device.platform == "tpu" else "threefry"


def apply(x_BLD, place, *, rate, key, bits, rows_B=None):
    """Zeroes a share `rate` of x, scales the rest by 1 / (1 - rate); `place` numbers the call.

    `bits`: a name of KEPT. With `rows_B` the other rows stay as they are. No dropout where `key` is
    None.
    """
    if key is None or rate == 0.0:
        return x_BLD
    kept = KEPT[bits](jax.random.fold_in(key, place), rate, x_BLD.shape)
    dropped = jnp.where(kept, x_BLD / (1 - rate), 0).astype(x_BLD.dtype)
    return dropped if rows_B is None else jnp.where(rows_B[:, None, None], dropped, x_BLD)


def _threefry(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    # Drawn once: XLA would draw it again inside each product that takes what is left.
    return jax.lax.optimization_barrier(jax.random.bernoulli(key, 1 - rate, shape))


def _hash(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """The number of each element, mixed with both words of the key: a dozen operations where
    threefry takes a hundred, so few that they are drawn wherever a product takes what is left.
    Every device makes the bits of its own part, the same on any mesh.

    Multipliers and shifts: C. Wellons, "Prospecting for hash functions" (2018), lowbias32.
    """
    first, second = jax.random.key_data(key)[:2]  # of four with JAX_DEFAULT_PRNG_IMPL=rbg
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    numbers = sum(
        jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        for axis, stride in enumerate(strides)
    )
    x = numbers ^ first
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    # Keys that differ in their second word alone would else only draw in another order.
    x = (x ^ (x >> 15) ^ second) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16) >= jnp.uint32(round(rate * 2**32))


KEPT: dict[str, Callable[[jax.Array, float, tuple[int, ...]], jax.Array]] = {
    "threefry": _threefry,
    "hash": _hash,
}
