"""Attention backends against float64 NumPy, document masking, and resolution."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline import errors
from mypt_jax.model import attention


def inputs(length=128, heads=4, groups=2, size=64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(2, length, n, size) for n in (heads, groups, groups)]
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def segments(length=128):
    return jnp.asarray([[i // 50 for i in range(length)], [0] * length], jnp.int32)


def reference(q, k, v, ids) -> np.ndarray:
    """Float64, one query at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    ids = None if ids is None else np.asarray(ids)
    out = np.empty_like(q)
    for b, i, h in np.ndindex(q.shape[:3]):
        g = h * k.shape[2] // q.shape[2]
        seen = [j for j in range(i + 1) if ids is None or ids[b, j] == ids[b, i]]
        scores = k[b, seen, g] @ q[b, i, h] / np.sqrt(q.shape[3])
        weights = np.exp(scores - scores.max())
        out[b, i, h] = weights / weights.sum() @ v[b, seen, g]
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", ["xla", "splash_interpret"])
def test_forward_and_gradient(backend, masked):
    q, k, v = inputs()
    ids = segments() if masked else None
    weight = jnp.cos(jnp.arange(q.size).reshape(q.shape))

    def value(name):
        @jax.jit
        def compute(q, k, v):
            call = lambda *x: attention.attend(name, *x, segments_BL=ids)  # noqa: E731
            out, pull = jax.vjp(call, q, k, v)
            return out, *pull(weight)

        return compute(q, k, v)

    got = value(backend)
    np.testing.assert_allclose(got[0], reference(q, k, v, ids), atol=2e-6)
    for g, w in zip(got[1:], value("xla")[1:], strict=True):
        np.testing.assert_allclose(g, w, atol=2e-5)


def test_xla_gradient_is_that_of_the_reference():
    q, k, v = inputs(length=6, size=4)
    ids = segments(6).at[0, 3:].set(1)
    out = jax.jit(lambda q: attention.attend("xla", q, k, v, segments_BL=ids)[0, 5, 1, 2])
    gradient = jax.grad(out)(q)
    for place in ((0, 5, 1, 0), (0, 5, 1, 3)):
        step = 1e-4
        up, down = (reference(q.at[place].add(s), k, v, ids)[0, 5, 1, 2] for s in (step, -step))
        np.testing.assert_allclose(gradient[place], (up - down) / (2 * step), rtol=2e-3)


def test_segments_follow_eot():
    got = attention.segments_from_eot(jnp.asarray([[3, 9, 4, 9, 9, 1], [9, 1, 1, 1, 1, 9]]), 9)
    np.testing.assert_array_equal(got, [[0, 0, 1, 1, 2, 3], [0, 1, 1, 1, 1, 1]])


def test_splash_over_a_mesh_equals_one_device():
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor")
    )
    q, k, v = inputs()
    got, want = (
        jax.jit(lambda *x, m=m: attention.attend("splash_interpret", *x, segments_BL=None, mesh=m))(
            q, k, v
        )
        for m in (mesh, None)
    )
    np.testing.assert_array_equal(got, want)


def test_splash_refuses_lengths_it_cannot_block():
    with pytest.raises(errors.UserError, match="multiple of 128, got 96"):
        attention.attend("splash_interpret", *inputs(length=96), segments_BL=None)


def test_cudnn_refuses_fp32():
    with pytest.raises(errors.UserError, match="bfloat16, got float32"):
        attention.attend("cudnn", *inputs(), segments_BL=None)


def device(platform, capability=None):
    return types.SimpleNamespace(platform=platform, compute_capability=capability)


@pytest.mark.parametrize(
    ("name", "where", "want"),
    [
        ("auto", device("tpu"), "splash"),
        ("auto", device("gpu", "9.0"), "cudnn"),
        ("auto", device("cuda", "8.0"), "cudnn"),
        ("auto", device("gpu", "7.5"), "xla"),
        ("auto", device("gpu", "gfx942"), "xla"),
        ("auto", device("cpu"), "xla"),
        ("xla", device("tpu"), "xla"),
        ("splash", device("tpu"), "splash"),
        ("splash_interpret", device("cpu"), "splash_interpret"),
    ],
)
def test_resolve(name, where, want):
    assert attention.resolve(name, where) == want


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("flash", device("cpu"), "'flash', wanted auto or one of xla, cudnn"),
        ("splash", device("gpu", "9.0"), "needs a tpu, this device is a gpu"),
        ("cudnn", device("cpu"), "needs a gpu, this device is a cpu"),
        ("cudnn", device("gpu", "7.5"), "compute capability 8.0, this GPU has 7.5"),
    ],
)
def test_resolve_refuses(name, where, message):
    with pytest.raises(errors.UserError, match=message):
        attention.resolve(name, where)
