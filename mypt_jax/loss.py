"""Next-token cross-entropy in fp32, in token chunks when the [B, L, V] logits would not fit.

Axes: B batch, L length, T tokens of one chunk (B * L / num_chunks), D n_embd, V vocabulary.
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


def token_nll(model, hidden_BLD: jax.Array, targets_BL: jax.Array, *, num_chunks: int) -> jax.Array:
    """Negative log-likelihood of every target, nats, fp32 [B, L].

    With num_chunks > 1 the logits of L / num_chunks positions exist at a time, forward and
    backward, at the price of computing them twice; L is padded up to a multiple.
    """
    head = model.head_weights()
    B, L, D = hidden_BLD.shape
    if num_chunks == 1:
        flat = hidden_BLD.reshape(B * L, D), targets_BL.reshape(B * L)
        return _nll(flat[0], head.kernel, head.bias_V, flat[1], head.tied).reshape(B, L)
    padding = ((0, 0), (0, -L % num_chunks))
    hidden_CTD = _to_chunks(jnp.pad(hidden_BLD, (*padding, (0, 0))), num_chunks)
    targets_CT = _to_chunks(jnp.pad(targets_BL, padding), num_chunks)
    nll_CT = _chunked_nll(hidden_CTD, head.kernel, head.bias_V, targets_CT, head.tied)
    return nll_CT.reshape(num_chunks, B, -1).swapaxes(0, 1).reshape(B, -1)[:, :L]


def _to_chunks(x_BL, num_chunks):
    """[B, L, ...] -> [C, B * L / C, ...]: cut along L, since B is what devices share out."""
    B, L, *rest = x_BL.shape
    chunks = x_BL.reshape(B, num_chunks, L // num_chunks, *rest).swapaxes(0, 1)
    return chunks.reshape(num_chunks, B * L // num_chunks, *rest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _nll(hidden_TD, kernel, bias_V, targets_T, tied):
    return _nll_forward(hidden_TD, kernel, bias_V, targets_T, tied)[0]


def _nll_forward(hidden_TD, kernel, bias_V, targets_T, tied):
    nll_T, exp_TV, sum_T = _softmax(hidden_TD, Head(kernel, bias_V, tied), targets_T)
    return nll_T, (hidden_TD, kernel, bias_V, targets_T, exp_TV, sum_T)


def _nll_backward(tied, saved, grad_T):
    hidden_TD, kernel, bias_V, targets_T, exp_TV, sum_T = saved
    grads = _head_gradients(hidden_TD, kernel, targets_T, exp_TV, sum_T, grad_T, tied)
    return *_cast_gradients(grads, hidden_TD, kernel, bias_V), None


def _softmax(hidden_TD, head, targets_T):
    """nll_T, and softmax as its numerator and denominator, so that backward needs no exp."""
    logits_TV = logits(hidden_TD, head)
    max_T = logits_TV.max(-1)
    exp_TV = jnp.exp(logits_TV - max_T[:, None])
    sum_T = exp_TV.sum(-1)
    target_T = jnp.take_along_axis(logits_TV, targets_T[:, None], axis=-1)[:, 0]
    return max_T + jnp.log(sum_T) - target_T, exp_TV, sum_T


def _head_gradients(hidden_TD, kernel, targets_T, exp_TV, sum_T, grad_T, tied):
    """fp32 gradients by hidden, kernel and bias. Written out, since automatic differentiation
    turns the one-hot part into a scatter over [T, V]; here it is one comparison that fuses."""
    column_V = jnp.arange(exp_TV.shape[-1], dtype=targets_T.dtype)
    is_target_TV = targets_T[:, None] == column_V
    delta_TV = exp_TV * (grad_T / sum_T)[:, None] - jnp.where(is_target_TV, grad_T[:, None], 0)
    delta_TV = delta_TV.astype(hidden_TD.dtype)
    matmul = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    # The bias gradient as a product: as a sum over rows it took a quarter of the step on a CPU.
    bias_grad_V = matmul("t,tv->v", jnp.ones_like(hidden_TD, shape=grad_T.shape), delta_TV)
    kernel = kernel.astype(hidden_TD.dtype)
    if tied:
        hidden_grad = matmul("tv,vd->td", delta_TV, kernel)
        kernel_grad = matmul("tv,td->vd", delta_TV, hidden_TD)
    else:
        hidden_grad = matmul("tv,dv->td", delta_TV, kernel)
        kernel_grad = matmul("td,tv->dv", hidden_TD, delta_TV)
    return hidden_grad, kernel_grad, bias_grad_V


def _cast_gradients(grads, hidden, kernel, bias_V):
    hidden_grad, kernel_grad, bias_grad_V = grads
    return (
        hidden_grad.astype(hidden.dtype),
        kernel_grad.astype(kernel.dtype),
        None if bias_V is None else bias_grad_V.astype(bias_V.dtype),
    )


_nll.defvjp(_nll_forward, _nll_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked_nll(hidden_CTD, kernel, bias_V, targets_CT, tied):
    return _chunked_forward(hidden_CTD, kernel, bias_V, targets_CT, tied)[0]


def _chunked_forward(hidden_CTD, kernel, bias_V, targets_CT, tied):
    head = Head(kernel, bias_V, tied)

    def one_chunk(_, chunk):
        return None, _softmax(chunk[0], head, chunk[1])[0]

    _, nll_CT = jax.lax.scan(one_chunk, None, (hidden_CTD, targets_CT))
    return nll_CT, (hidden_CTD, kernel, bias_V, targets_CT)


def _chunked_backward(tied, saved, grad_CT):
    hidden_CTD, kernel, bias_V, targets_CT = saved
    head = Head(kernel, bias_V, tied)

    def one_chunk(sums, chunk):
        hidden_TD, targets_T, grad_T = chunk
        _, exp_TV, sum_T = _softmax(hidden_TD, head, targets_T)
        grads = _head_gradients(hidden_TD, kernel, targets_T, exp_TV, sum_T, grad_T, tied)
        sums = tuple(a + b for a, b in zip(sums, grads[1:], strict=True))
        return sums, grads[0].astype(hidden_TD.dtype)

    V = kernel.shape[0 if tied else 1]
    zeros = jnp.zeros(kernel.shape, jnp.float32), jnp.zeros((V,), jnp.float32)
    sums, hidden_grad_CTD = jax.lax.scan(one_chunk, zeros, (hidden_CTD, targets_CT, grad_CT))
    return *_cast_gradients((hidden_grad_CTD, *sums), hidden_CTD, kernel, bias_V), None


_nll.defvjp(_nll_forward, _nll_backward)
_chunked_nll.defvjp(_chunked_forward, _chunked_backward)
