"""The start-up self-test: is the attention of this device what it should be?

Axes: B batch, L length, H query heads, G key/value heads, K head size.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline import errors
from mypt_jax.model import attention, layers


def run(model_config: Mapping) -> None:
    """Raises UserError when the attention backend of a resolved config is wrong on this device.

    XLA's is the reference itself and costs nothing at start; any other takes seconds.
    """
    if model_config["attention"] != "xla":
        check_model(model_config)


def check_model(model_config: Mapping) -> None:
    """check_attention with the head sizes, dtype and masking of a resolved config."""
    c = layers.Config(**model_config)
    check_attention(
        c.attention,
        n_head=c.n_head,
        n_kv_head=c.kv_heads,
        head_size=c.head_size,
        length=min(c.block_size, 2 * attention.SPLASH_BLOCK),  # a leak may need a second block
        compute_dtype=c.compute_dtype,
        document_mask=c.document_mask,
    )


def check_attention(
    backend: str | attention.Attend,
    *,
    n_head: int,
    n_kv_head: int,
    head_size: int,
    length: int,
    compute_dtype: str,
    document_mask: bool,
) -> None:
    """Compares a backend with an fp32 reference on a small packed batch, forward and gradient.

    A second pass replaces everything that one position may not see and wants its output unchanged
    to the last bit, so a leak smaller than the rounding of compute_dtype is found too. `backend` is
    a name or a function (q, k, v, segments_BL) -> out. Raises UserError that names the fault. Such
    leaks happen: https://github.com/AI-Hypercomputer/maxtext/issues/4476.
    """
    function = _named(backend) if isinstance(backend, str) else backend
    name = getattr(function, "__name__", str(function))
    heads = n_head // n_kv_head * min(n_kv_head, 2)
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(2, length, h, head_size) for h in (heads, min(n_kv_head, 2), min(n_kv_head, 2))]
    q, k, v = (
        jax.random.normal(key, shape, jnp.float32).astype(compute_dtype)
        for key, shape in zip(keys[:3], shapes, strict=True)
    )
    weight = jax.random.normal(keys[3], shapes[0], jnp.float32)
    # Row 0 has three documents, row 1 two; no boundary falls on a kernel block.
    cuts = np.zeros((2, length), np.int32)
    cuts[0, [length // 3, length - 3]] = 1
    cuts[1, length // 2 + 1] = 1
    segments = jnp.asarray(np.cumsum(cuts, axis=1)) if document_mask else None

    _refuse_leaks(name, function, q, k, v, segments)
    wide = [x.astype(jnp.float32) for x in (q, k, v)]
    got = _value_and_gradients(function, (q, k, v), segments, weight)
    with jax.default_matmul_precision("highest"):
        want = _value_and_gradients(_named("xla"), wide, segments, weight)
    limit = 2e-2 if compute_dtype == "bfloat16" else 2e-3
    for part, g, w in zip(("output", "dq", "dk", "dv"), got, want, strict=True):
        scale = float(np.sqrt(np.mean(np.square(w))))
        error = float(np.sqrt(np.mean(np.square(g - w)))) / scale
        if not error <= limit:
            raise errors.UserError(
                f"attention backend {name} is wrong on this device: {part} differs from the fp32 "
                f"reference by {error:.1e} of its size, wanted at most {limit:.0e}: "
                "set model.attention=xla"
            )


def _named(backend: str) -> attention.Attend:
    def attend(q, k, v, segments):
        return attention.attend(backend, q, k, v, segments_BL=segments)

    attend.__name__ = backend
    return attend


def _value_and_gradients(function, qkv, segments, weight):
    """Output and the gradients of sum(output * weight), as fp32 NumPy arrays."""

    @jax.jit
    def compute(q, k, v):
        out, pull = jax.vjp(lambda q, k, v: function(q, k, v, segments), q, k, v)
        return out, *pull(weight.astype(out.dtype))

    return [np.asarray(x, np.float32) for x in compute(*qkv)]


def _refuse_leaks(name, function, q, k, v, segments):
    """Raises UserError when a query's output changes with what that query must not see."""
    length = q.shape[1]
    run = jax.jit(lambda k, v: function(q, k, v, segments))
    plain = np.asarray(run(k, v).astype(jnp.float32))
    at = length // 2  # the position whose past alone may matter
    future = jnp.arange(length)[None, :, None, None] > at
    changed = np.asarray(
        run(jnp.where(future, 3 * k + 1, k), jnp.where(future, 5.0, v)).astype(jnp.float32)
    )
    if not np.array_equal(plain[:, : at + 1], changed[:, : at + 1]):
        raise errors.UserError(
            f"attention backend {name} leaks from the future on this device: "
            "set model.attention=xla"
        )
    if segments is None:
        return
    other = (segments != segments[:, -1:])[:, :, None, None]
    changed = np.asarray(
        run(jnp.where(other, 3 * k + 1, k), jnp.where(other, 5.0, v)).astype(jnp.float32)
    )
    last = np.asarray(segments == segments[:, -1:])
    if not np.array_equal(plain[last], changed[last]):
        raise errors.UserError(
            f"attention backend {name} leaks across documents on this device: "
            "set model.attention=xla or model.document_mask=False"
        )
