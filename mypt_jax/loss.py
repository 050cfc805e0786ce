"""Next-token cross-entropy in fp32, in token chunks when the [B, L, V] logits would not fit.

For training, the gradient is computed together with the loss: the logits of a chunk are made once,
turned into their gradient and dropped (Hsu et al. 2024, "Liger Kernel", arXiv:2410.10989).

Axes: B batch, L length, C chunks, T tokens of one chunk (B * L / C), D n_embd, V vocabulary.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Head(NamedTuple):
    """What turns hidden states into logits; `tied` says that kernel is [V, D], not [D, V]."""

    kernel: jax.Array
    bias_V: jax.Array | None
    tied: bool


def logits(hidden: jax.Array, head: Head) -> jax.Array:
    """hidden [..., D] -> fp32 logits [..., V]; products in hidden's dtype, sums in fp32."""
    kernel = head.kernel.astype(hidden.dtype)
    axes = ((hidden.ndim - 1,), (1 if head.tied else 0,))
    out = jax.lax.dot_general(hidden, kernel, (axes, ((), ())), preferred_element_type=jnp.float32)
    return out if head.bias_V is None else out + head.bias_V.astype(jnp.float32)


def token_nll(
    head: Head, hidden_BLD: jax.Array, targets_BL: jax.Array, *, num_chunks: int
) -> jax.Array:
    """Negative log-likelihood of every target, nats, fp32 [B, L]; for evaluation.

    The logits of L / num_chunks positions exist at a time; L is padded up to a multiple.
    """

    def one_chunk(_, chunk):
        return None, _softmax(chunk[0], head, chunk[1])[0]

    chunks = _to_chunks(hidden_BLD, num_chunks), _to_chunks(targets_BL, num_chunks)
    _, nll_CT = _over_chunks(one_chunk, None, chunks)
    B, L = targets_BL.shape
    return nll_CT.reshape(num_chunks, B, -1).swapaxes(0, 1).reshape(B, -1)[:, :L]


def mean_nll(
    head: Head, hidden_BLD: jax.Array, targets_BL: jax.Array, *, num_chunks: int
) -> jax.Array:
    """Mean negative log-likelihood of all targets, nats/token, fp32 scalar; for training.

    As token_nll(...).mean(), but differentiated without making the logits a second time.
    """
    # Padding is zeros here, too: it counts nothing.
    weights_BL = jnp.full(targets_BL.shape, 1 / targets_BL.size, jnp.float32)
    hidden_CTD, targets_CT, weights_CT = (
        _to_chunks(x, num_chunks) for x in (hidden_BLD, targets_BL, weights_BL)
    )
    return _weighted(hidden_CTD, head.kernel, head.bias_V, targets_CT, weights_CT, head.tied)


def _to_chunks(x_BL, num_chunks):
    """[B, L, ...] -> [C, T, ...], padded with zeros: cut along L, since devices share out B."""
    B, L, *rest = x_BL.shape
    x_BL = jnp.pad(x_BL, ((0, 0), (0, -L % num_chunks), *((0, 0) for _ in rest)))
    x_CBL = x_BL.reshape(B, num_chunks, -1, *rest).swapaxes(0, 1)
    return x_CBL.reshape(num_chunks, -1, *rest)


def _over_chunks(one_chunk, carry, chunks):
    """jax.lax.scan, but a single chunk is no loop."""
    if chunks[0].shape[0] > 1:
        return jax.lax.scan(one_chunk, carry, chunks)
    carry, out = one_chunk(carry, tuple(x[0] for x in chunks))
    return carry, jax.tree.map(lambda x: x[None], out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _weighted(hidden_CTD, kernel, bias_V, targets_CT, weights_CT, tied):
    """Sum of weight times negative log-likelihood over all tokens."""
    head = Head(kernel, bias_V, tied)

    def one_chunk(total, chunk):
        hidden_TD, targets_T, weights_T = chunk
        nll_T = _softmax(hidden_TD, head, targets_T)[0]
        return total + (nll_T * weights_T).sum(), None

    zero = jnp.zeros((), jnp.float32)
    return _over_chunks(one_chunk, zero, (hidden_CTD, targets_CT, weights_CT))[0]


def _weighted_forward(hidden_CTD, kernel, bias_V, targets_CT, weights_CT, tied):
    """The sum, and its gradients by hidden, kernel and bias, which backward only scales."""
    head = Head(kernel, bias_V, tied)

    def one_chunk(sums, chunk):
        hidden_TD, targets_T, weights_T = chunk
        nll_T, exp_TV, sum_T = _softmax(hidden_TD, head, targets_T)
        hidden_grad_TD, *grads = _head_gradients(
            hidden_TD, kernel, targets_T, exp_TV, sum_T, weights_T, tied
        )
        new = (nll_T * weights_T).sum(), *grads
        sums = jax.tree.map(jnp.add, sums, new)
        return sums, hidden_grad_TD.astype(hidden_TD.dtype)

    V = kernel.shape[0 if tied else 1]
    zeros = tuple(jnp.zeros(shape, jnp.float32) for shape in ((), kernel.shape, (V,)))
    (total, kernel_grad, bias_grad_V), hidden_grad_CTD = _over_chunks(
        one_chunk, zeros, (hidden_CTD, targets_CT, weights_CT)
    )
    grads = (
        hidden_grad_CTD,
        kernel_grad.astype(kernel.dtype),
        None if bias_V is None else bias_grad_V.astype(bias_V.dtype),
    )
    return total, grads


def _weighted_backward(tied, grads, total_grad):
    del tied
    scaled = jax.tree.map(lambda g: (g * total_grad).astype(g.dtype), grads)
    return *scaled, None, None


_weighted.defvjp(_weighted_forward, _weighted_backward)


def _softmax(hidden_TD, head, targets_T):
    """nll_T, and softmax as its numerator and denominator, so that its gradient needs no exp."""
    logits_TV = logits(hidden_TD, head)
    max_T = logits_TV.max(-1)
    exp_TV = jnp.exp(logits_TV - max_T[:, None])
    sum_T = exp_TV.sum(-1)
    target_T = jnp.take_along_axis(logits_TV, targets_T[:, None], axis=-1)[:, 0]
    return max_T + jnp.log(sum_T) - target_T, exp_TV, sum_T


def _head_gradients(hidden_TD, kernel, targets_T, exp_TV, sum_T, weights_T, tied):
    """fp32 gradients by hidden, kernel and bias. Written out, since automatic differentiation
    turns the one-hot part into a scatter over [T, V]; here it is one comparison that fuses."""
    column_V = jnp.arange(exp_TV.shape[-1], dtype=targets_T.dtype)
    is_target_TV = targets_T[:, None] == column_V
    delta_TV = exp_TV * (weights_T / sum_T)[:, None] - jnp.where(
        is_target_TV, weights_T[:, None], 0
    )
    delta_TV = delta_TV.astype(hidden_TD.dtype)
    matmul = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    # The bias gradient as a product: as a sum over rows it took a quarter of the step on a CPU.
    bias_grad_V = matmul("t,tv->v", jnp.ones_like(hidden_TD, shape=weights_T.shape), delta_TV)
    kernel = kernel.astype(hidden_TD.dtype)
    if tied:
        hidden_grad = matmul("tv,vd->td", delta_TV, kernel)
        kernel_grad = matmul("tv,td->vd", delta_TV, hidden_TD)
    else:
        hidden_grad = matmul("tv,dv->td", delta_TV, kernel)
        # XLA's CPU backend has its fast product only for a left side that lies in rows.
        hidden_DT = jax.lax.optimization_barrier(hidden_TD.T)
        kernel_grad = matmul("dt,tv->dv", hidden_DT, delta_TV)
    return hidden_grad, kernel_grad, bias_grad_V
