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
    if num_chunks == 1:
        return _nll(hidden_BLD, head.kernel, head.bias_V, targets_BL, head.tied)
    L = hidden_BLD.shape[1]
    size = -(-L // num_chunks)
    padding = ((0, 0), (0, size * num_chunks - L))
    hidden_CBTD = _to_chunks(jnp.pad(hidden_BLD, (*padding, (0, 0))), num_chunks)
    targets_CBT = _to_chunks(jnp.pad(targets_BL, padding), num_chunks)
    nll_CBT = _chunked_nll(hidden_CBTD, head.kernel, head.bias_V, targets_CBT, head.tied)
    return nll_CBT.swapaxes(0, 1).reshape(hidden_BLD.shape[0], -1)[:, :L]


def _to_chunks(x_BL, num_chunks):
    """[B, L, ...] -> [C, B, L / C, ...]: along L, since B is the axis that devices share out."""
    shape = (x_BL.shape[0], num_chunks, x_BL.shape[1] // num_chunks, *x_BL.shape[2:])
    return x_BL.reshape(shape).swapaxes(0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _nll(hidden_BTD, kernel, bias_V, targets_BT, tied):
    return _nll_forward(hidden_BTD, kernel, bias_V, targets_BT, tied)[0]


def _nll_forward(hidden_BTD, kernel, bias_V, targets_BT, tied):
    logits_BTV = logits(hidden_BTD, Head(kernel, bias_V, tied))
    norm_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return norm_BT - target_BT, (hidden_BTD, kernel, bias_V, targets_BT, logits_BTV, norm_BT)


def _nll_backward(tied, saved, grad_BT):
    hidden_BTD, kernel, bias_V, targets_BT, logits_BTV, norm_BT = saved
    grads = _head_gradients(
        hidden_BTD, kernel, bias_V, targets_BT, logits_BTV, norm_BT, grad_BT, tied
    )
    return *_cast_gradients(grads, hidden_BTD, kernel, bias_V), None


def _head_gradients(hidden_BTD, kernel, bias_V, targets_BT, logits_BTV, norm_BT, grad_BT, tied):
    """fp32 gradients by hidden, kernel and bias. Written out, since automatic differentiation
    turns the one-hot part into a scatter over [B, T, V]; here it is one comparison that fuses."""
    column_V = jnp.arange(logits_BTV.shape[-1], dtype=targets_BT.dtype)
    probability_BTV = jnp.exp(logits_BTV - norm_BT[..., None])
    is_target_BTV = targets_BT[..., None] == column_V
    delta_BTV = jnp.where(is_target_BTV, probability_BTV - 1, probability_BTV) * grad_BT[..., None]
    bias_grad_V = None if bias_V is None else delta_BTV.sum((0, 1))
    delta_BTV = delta_BTV.astype(hidden_BTD.dtype)
    matmul = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    kernel = kernel.astype(hidden_BTD.dtype)
    if tied:
        return (
            matmul("btv,vd->btd", delta_BTV, kernel),
            matmul("btv,btd->vd", delta_BTV, hidden_BTD),
            bias_grad_V,
        )
    return (
        matmul("btv,dv->btd", delta_BTV, kernel),
        matmul("btd,btv->dv", hidden_BTD, delta_BTV),
        bias_grad_V,
    )


def _cast_gradients(grads, hidden, kernel, bias_V):
    hidden_grad, kernel_grad, bias_grad_V = grads
    return (
        hidden_grad.astype(hidden.dtype),
        kernel_grad.astype(kernel.dtype),
        None if bias_V is None else bias_grad_V.astype(bias_V.dtype),
    )


_nll.defvjp(_nll_forward, _nll_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked_nll(hidden_CBTD, kernel, bias_V, targets_CBT, tied):
    return _chunked_forward(hidden_CBTD, kernel, bias_V, targets_CBT, tied)[0]


def _chunked_forward(hidden_CBTD, kernel, bias_V, targets_CBT, tied):
    def one_chunk(_, chunk):
        hidden_BTD, targets_BT = chunk
        nll_BT, saved = _nll_forward(hidden_BTD, kernel, bias_V, targets_BT, tied)
        return None, (nll_BT, saved[-1])

    _, (nll_CBT, norm_CBT) = jax.lax.scan(one_chunk, None, (hidden_CBTD, targets_CBT))
    return nll_CBT, (hidden_CBTD, kernel, bias_V, targets_CBT, norm_CBT)


def _chunked_backward(tied, saved, grad_CBT):
    hidden_CBTD, kernel, bias_V, targets_CBT, norm_CBT = saved

    def one_chunk(sums, chunk):
        hidden_BTD, targets_BT, norm_BT, grad_BT = chunk
        logits_BTV = logits(hidden_BTD, Head(kernel, bias_V, tied))
        hidden_grad, *grads = _head_gradients(
            hidden_BTD, kernel, bias_V, targets_BT, logits_BTV, norm_BT, grad_BT, tied
        )
        return jax.tree.map(jnp.add, sums, grads), hidden_grad.astype(hidden_BTD.dtype)

    zeros = [
        jnp.zeros(kernel.shape, jnp.float32),
        None if bias_V is None else jnp.zeros(bias_V.shape, jnp.float32),
    ]
    sums, hidden_grad_CBTD = jax.lax.scan(
        one_chunk, zeros, (hidden_CBTD, targets_CBT, norm_CBT, grad_CBT)
    )
    return *_cast_gradients((hidden_grad_CBTD, *sums), hidden_CBTD, kernel, bias_V), None


_chunked_nll.defvjp(_chunked_forward, _chunked_backward)
