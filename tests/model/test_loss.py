"""Chunked cross-entropy: equal to the plain one, and never an array of [B, L, V]."""

import re

import jax
import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from flax import nnx
from model_factory import quick  # noqa: F401

from mypt_jax.model import loss


def case(B=2, L=12, D=8, V=50, *, tied=False, bias=True, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((V, D) if tied else (D, V)).astype(np.float32)
    bias_V = rng.standard_normal(V).astype(np.float32) if bias else None
    hidden = jnp.asarray(3 * rng.standard_normal((B, L, D)), dtype)
    return hidden, kernel, bias_V, rng.integers(0, V, (B, L))


def plain_nll(hidden_BLD, kernel, bias_V, targets_BL, tied):
    """Cross-entropy as a textbook has it, through automatic differentiation."""
    logits = hidden_BLD.astype(jnp.float32) @ (kernel.T if tied else kernel)
    logits = logits if bias_V is None else logits + bias_V
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets_BL[..., None], -1)
    return -picked[..., 0]


@pytest.mark.parametrize("num_chunks", [1, 2, 5, 12])
@pytest.mark.parametrize(("tied", "bias"), [(False, True), (True, False), (True, True)])
def test_equal_to_the_plain_loss(num_chunks, tied, bias):
    """Values, and gradients of a multiple of the mean; 5 does not divide 12."""
    hidden, kernel, bias_V, targets = case(tied=tied, bias=bias)

    def chunked(hidden, kernel, bias_V):
        head = loss.Head(kernel, bias_V, tied)
        nll = loss.token_nll(head, hidden, targets, num_chunks=num_chunks)
        return 3 * loss.mean_nll(head, hidden, targets, num_chunks=num_chunks), nll

    def plain(hidden, kernel, bias_V):
        nll = plain_nll(hidden, kernel, bias_V, targets, tied)
        return 3 * nll.mean(), nll

    wrt = (0, 1, 2) if bias else (0, 1)
    got, want = (
        jax.jit(jax.value_and_grad(f, argnums=wrt, has_aux=True))(hidden, kernel, bias_V)
        for f in (chunked, plain)
    )
    assert got[0][1].dtype == jnp.float32 and got[0][1].shape == targets.shape
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-6)
    alone = jax.jit(lambda *x: chunked(*x)[0])(hidden, kernel, bias_V)  # without a gradient
    np.testing.assert_allclose(alone, want[0][0], rtol=1e-6)


def log_softmax64(hidden_BLD, kernel, bias_V):
    logits = np.asarray(hidden_BLD, np.float64) @ np.asarray(kernel, np.float64)
    logits += 0 if bias_V is None else np.asarray(bias_V, np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("num_chunks", [1, 5])
@pytest.mark.parametrize("tied", [False, True])
def test_divergence_from_a_teacher_against_float64(num_chunks, tied):
    """Loss, losses of the rows and gradients, by formulas written out in NumPy."""
    hidden, kernel, bias_V, targets = case(B=3, tied=tied)
    t_hidden, t_kernel, t_bias, _ = case(B=3, tied=tied, seed=1)
    weights, kl_weights = np.array([0.5, 0.0, 0.25]), np.array([0.0, 2.0, 0.75])

    def total(hidden, kernel, bias_V):
        teacher = loss.Teacher(loss.Head(t_kernel, t_bias, tied), t_hidden, jnp.array(kl_weights))
        head = loss.Head(kernel, bias_V, tied)
        return loss.weighted_loss(
            head, hidden, targets, jnp.array(weights), num_chunks=num_chunks, teacher=teacher
        )

    (got, rows), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(
        hidden, kernel, bias_V
    )
    plain = kernel.T if tied else kernel
    own = log_softmax64(hidden, plain, bias_V)
    theirs = log_softmax64(t_hidden, t_kernel.T if tied else t_kernel, t_bias)
    L = targets.shape[1]
    nll_B = -np.take_along_axis(own, targets[..., None], -1)[..., 0].mean(-1)
    kl_B = (np.exp(theirs) * (theirs - own)).sum(-1).mean(-1)
    np.testing.assert_allclose(rows.nll_B, nll_B, rtol=1e-5)
    np.testing.assert_allclose(rows.kl_B, kl_B, rtol=1e-5)
    heads = loss.Head(kernel, bias_V, tied), loss.Head(t_kernel, t_bias, tied)
    kl_BL = loss.token_kl(heads[0], hidden, heads[1], t_hidden, num_chunks=num_chunks)
    np.testing.assert_allclose(kl_BL.mean(-1), kl_B, rtol=1e-5)
    np.testing.assert_allclose(got, weights @ nll_B + kl_weights @ kl_B, rtol=1e-5)
    one_hot = np.eye(plain.shape[1])[targets]
    w, k = weights[:, None, None] / L, kl_weights[:, None, None] / L
    delta = (w + k) * np.exp(own) - w * one_hot - k * np.exp(theirs)
    kernel_grad = np.einsum("bld,blv->dv", np.asarray(hidden, np.float64), delta)
    wanted = (delta @ plain.T.astype(np.float64), kernel_grad.T if tied else kernel_grad)
    for g, want in zip(gradients, (*wanted, delta.sum((0, 1))), strict=True):
        np.testing.assert_allclose(g, want, rtol=1e-5, atol=3e-6)


def test_a_teacher_equal_to_the_model_teaches_nothing():
    hidden, kernel, bias_V, targets = case()
    head, ones = loss.Head(kernel, bias_V, False), jnp.ones(2)

    def total(hidden):
        teacher = loss.Teacher(head, jax.lax.stop_gradient(hidden), ones)
        return loss.weighted_loss(head, hidden, targets, 0 * ones, num_chunks=3, teacher=teacher)

    (value, _), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(hidden)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_bfloat16_hidden_states_are_summed_in_fp32():
    """A kernel gradient of 4,096 equal contributions: bf16 sums would stop growing at 256."""
    T, V = 4096, 4
    hidden = jnp.ones((1, T, 1), jnp.bfloat16)
    targets = jnp.zeros((1, T), jnp.int32)

    def mean(kernel):
        return loss.mean_nll(loss.Head(kernel, None, False), hidden, targets, num_chunks=16)

    gradient = jax.jit(jax.grad(mean))(jnp.zeros((1, V), jnp.float32))
    np.testing.assert_allclose(gradient[0], [-0.75, 0.25, 0.25, 0.25], rtol=1e-3)


def test_large_logits_stay_finite():
    kernel = np.array([[1e4, -1e4, 0.0]], np.float32)
    head = loss.Head(kernel, None, False)
    nll = loss.token_nll(head, jnp.ones((1, 3, 1)), jnp.asarray([[0, 1, 2]]), num_chunks=1)
    np.testing.assert_allclose(nll, [[0.0, 2e4, 1e4]])


# Short rows, so that attention scores do not hide what the logits take.
B, L, SHAPE = 64, 32, {"n_embd": 64, "n_head": 2, "n_layer": 1, "vocab_size": 8192}


def compiled_step(num_chunks, **changes):
    """Loss and gradient of a whole model, compiled; B * L = 2,048 > 4 n_embd."""
    settings = {**SHAPE, "block_size": L, "loss_chunks": num_chunks, "remat": "full", **changes}
    graph, params = nnx.split(factory.randomized(**settings), nnx.Param)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)

    def mean(params, rows):
        gpt = nnx.merge(graph, params)
        hidden, targets = gpt(rows[:, :-1]), rows[:, 1:]
        return loss.mean_nll(gpt.head_weights(), hidden, targets, num_chunks=num_chunks)

    rows = jax.ShapeDtypeStruct((B, L + 1), jnp.int32)
    with factory.quick_compilation(False):
        return jax.jit(jax.value_and_grad(mean)).lower(shapes, rows).compile()


def largest_float_array(text: str) -> int:
    shapes = re.findall(r"\b(?:f32|bf16|f16|f64)\[([\d,]+)\]", text)
    return max(int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes)


def test_no_array_of_all_logits_and_a_quarter_of_the_memory():
    plain, chunked = compiled_step(1), compiled_step(16)
    logits = B * L * SHAPE["vocab_size"]
    assert largest_float_array(plain.as_text()) >= logits  # the check can fail
    assert largest_float_array(chunked.as_text()) < logits
    sizes = [c.memory_analysis().temp_size_in_bytes for c in (plain, chunked)]
    assert sizes[1] <= sizes[0] / 4, sizes


def test_no_array_of_all_logits_when_tied():
    text = compiled_step(16, tied_embeddings=True, head_bias=False).as_text()
    assert largest_float_array(text) < B * L * SHAPE["vocab_size"]
