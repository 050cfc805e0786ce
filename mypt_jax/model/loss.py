"""Next-token cross-entropy in fp32, in token chunks when the [B, L, V] logits would not fit.

For training, the gradient is computed together with the loss: the logits of a chunk are made once,
turned into their gradient and dropped (Hsu et al. 2024, "Liger Kernel", arXiv:2410.10989).

Axes: B batch, L length, C chunks, T tokens of one chunk (B * L / C), D n_embd, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mypt_jax.distributed import sharding


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
    head: Head,
    hidden_BLD: jax.Array,
    targets_BL: jax.Array,
    *,
    num_chunks: int,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Negative log-likelihood of every target, nats, fp32 [B, L]; for evaluation.

    The logits of L / num_chunks positions exist at a time; L is padded up to a multiple. `mesh`: as
    in weighted_loss.
    """

    def local(hidden_BLD, targets_BL, kernel, bias_V):
        def one_chunk(_, chunk):
            return None, _softmax(chunk[0], Head(kernel, bias_V, head.tied), chunk[1]).nll_T

        chunks = _to_chunks(hidden_BLD, num_chunks), _to_chunks(targets_BL, num_chunks)
        _, nll_CT = _over_chunks(one_chunk, None, chunks)
        return _from_chunks(nll_CT, *targets_BL.shape)

    run = _on_shards(local, mesh, rows=2, whole=2, out=ROWS)
    return run(hidden_BLD, targets_BL, head.kernel.astype(hidden_BLD.dtype), head.bias_V)


def token_kl(
    head: Head,
    hidden_BLD: jax.Array,
    teacher: Head,
    teacher_hidden_BLD: jax.Array,
    *,
    num_chunks: int,
    mesh: Mesh | None = None,
) -> jax.Array:
    """KL(teacher || model) of every position, nats, fp32 [B, L], over the whole vocabulary; for
    evaluation. In chunks, as token_nll."""

    def local(hidden_BLD, above_BLD, weights, above_weights):
        own, above = Head(*weights, head.tied), Head(*above_weights, teacher.tied)

        def one_chunk(_, chunk):
            own_TV = jax.nn.log_softmax(logits(chunk[0], own))
            return None, _divergence(jax.nn.log_softmax(logits(chunk[1], above)), own_TV)

        chunks = _to_chunks(hidden_BLD, num_chunks), _to_chunks(above_BLD, num_chunks)
        _, kl_CT = _over_chunks(one_chunk, None, chunks)
        return _from_chunks(kl_CT, *hidden_BLD.shape[:2])

    def cast(head):
        return head.kernel.astype(hidden_BLD.dtype), head.bias_V

    run = _on_shards(local, mesh, rows=2, whole=2, out=ROWS)
    return run(hidden_BLD, teacher_hidden_BLD, cast(head), cast(teacher))


def mean_nll(
    head: Head, hidden_BLD: jax.Array, targets_BL: jax.Array, *, num_chunks: int
) -> jax.Array:
    """Mean negative log-likelihood of all targets, nats/token, fp32 scalar; for training.

    As token_nll(...).mean(), but differentiated without making the logits a second time.
    """
    B = targets_BL.shape[0]
    weights_B = jnp.full((B,), 1 / B, jnp.float32)
    return weighted_loss(head, hidden_BLD, targets_BL, weights_B, num_chunks=num_chunks)[0]


class Teacher(NamedTuple):
    """What a model is compared with: the head and hidden states of another, on the same tokens."""

    head: Head
    hidden_BLD: jax.Array
    weights_B: jax.Array  # of each row's divergence in the total


class RowLosses(NamedTuple):
    """Means over the tokens of each row, fp32 [B]; without gradient. `kl_B`: of a teacher's."""

    nll_B: jax.Array
    kl_B: jax.Array | None


def weighted_loss(
    head: Head,
    hidden_BLD: jax.Array,
    targets_BL: jax.Array,
    weights_B: jax.Array,
    *,
    num_chunks: int,
    teacher: Teacher | None = None,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, RowLosses]:
    """(total, losses by row), nats/token, fp32: sum over rows of weight times the row's loss.

    A row's loss is its mean negative log-likelihood; with a teacher comes KL(teacher || model),
    temperature 1 over the whole vocabulary, by the teacher's weights (Hinton et al. 2015, arXiv
    1503.02531). Only the total is differentiated, without making the logits a second time.

    With a `mesh` every device takes its own rows through all chunks: the head is gathered once
    before, and its gradient reduced once behind. Without, the partitioner decides.
    """
    B, L = targets_BL.shape

    def by_token(weights_B):
        return jnp.broadcast_to(weights_B.astype(jnp.float32)[:, None] / L, (B, L))

    above = None
    if teacher is not None:
        above = teacher.head[:2], (teacher.hidden_BLD, by_token(teacher.weights_B))
        above = jax.lax.stop_gradient(above)
    how = _How(num_chunks, mesh, head.tied, teacher is not None and teacher.head.tied)
    targets = targets_BL, by_token(weights_B)
    total, losses = _weighted(hidden_BLD, head.kernel, head.bias_V, targets, above, how)
    nll_BL, kl_BL = losses
    return total, RowLosses(nll_BL.mean(-1), None if kl_BL is None else kl_BL.mean(-1))


ROWS, WHOLE = P(sharding.BATCH_AXES), P()


def _on_shards(function: Callable, mesh: Mesh | None, *, rows: int, whole: int, out) -> Callable:
    """The function on the rows of every device: its first arguments are split by rows, the others
    are whole. `out`: how the results are split. What the head is split over by `tensor`, the
    partitioner goes on with."""
    if mesh is None:
        return function
    by_hand = set(sharding.BATCH_AXES) if mesh.shape["tensor"] > 1 else set(mesh.axis_names)
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(ROWS,) * rows + (WHOLE,) * whole,
        out_specs=out,
        axis_names=by_hand,
        check_vma=False,
    )


def _to_chunks(x_BL, num_chunks):
    """[B, L, ...] -> [C, T, ...], padded with zeros: cut along L, since devices share out B."""
    B, L, *rest = x_BL.shape
    x_BL = jnp.pad(x_BL, ((0, 0), (0, -L % num_chunks), *((0, 0) for _ in rest)))
    x_CBL = x_BL.reshape(B, num_chunks, -1, *rest).swapaxes(0, 1)
    return x_CBL.reshape(num_chunks, -1, *rest)


def _from_chunks(x_CT, B, L):
    """[C, T, ...] -> [B, L, ...], without the padding."""
    C, _, *rest = x_CT.shape
    return x_CT.reshape(C, B, -1, *rest).swapaxes(0, 1).reshape(B, -1, *rest)[:, :L]


def _over_chunks(one_chunk, carry, chunks):
    """jax.lax.scan, but a single chunk is no loop."""
    if jax.tree.leaves(chunks)[0].shape[0] > 1:
        return jax.lax.scan(one_chunk, carry, chunks)
    carry, out = one_chunk(carry, jax.tree.map(lambda x: x[0], chunks))
    return carry, jax.tree.map(lambda x: x[None], out)


class _How(NamedTuple):
    """What is known before anything is computed."""

    num_chunks: int
    mesh: Mesh | None
    tied: bool
    teacher_tied: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _weighted(hidden_BLD, kernel, bias_V, targets, above, how):
    """(total, (nll_BL, kl_BL or None)); `targets`: (ids, weights), `above`: the teacher's or None.

    above: ((kernel, bias), (hidden_BLD, weights_BL)).
    """

    def local(rows, above_rows, weights, above_weights):
        def one_chunk(total, chunk):
            softmax, taught = _chunk(chunk, weights, above_weights, how)
            new = _sum(softmax.nll_T, chunk[0][2], taught)
            return total + new, (softmax.nll_T, taught.kl_T)

        chunks = _chunks((rows, above_rows), how.num_chunks)
        total, losses = _over_chunks(one_chunk, jnp.zeros((), jnp.float32), chunks)
        return _over_batch(total, how.mesh), _by_row(losses, rows[1].shape)

    run = _on_shards(local, how.mesh, rows=2, whole=2, out=(WHOLE, ROWS))
    return run(*_arguments(hidden_BLD, kernel, bias_V, targets, above))


def _weighted_forward(hidden_BLD, kernel, bias_V, targets, above, how):
    """_weighted, and its gradients by hidden, kernel and bias, which backward only scales."""
    embed = 1 if how.tied else 0  # the dimension of the kernel that is split over fsdp

    def local(rows, above_rows, weights, above_weights):
        def one_chunk(sums, chunk):
            softmax, taught = _chunk(chunk, weights, above_weights, how)
            hidden_TD, targets_T, weights_T = chunk[0]
            delta_TV = _logit_gradients(softmax, targets_T, weights_T, taught)
            hidden_grad_TD, *grads = _head_gradients(hidden_TD, weights[0], delta_TV, how.tied)
            new = _sum(softmax.nll_T, weights_T, taught), *grads
            sums = jax.tree.map(jnp.add, sums, new)
            return sums, (hidden_grad_TD.astype(hidden_TD.dtype), softmax.nll_T, taught.kl_T)

        V = weights[0].shape[1 - embed]
        shapes = (), weights[0].shape, (V,)
        zeros = tuple(jnp.zeros(shape, jnp.float32) for shape in shapes)
        chunks = _chunks((rows, above_rows), how.num_chunks)
        (total, kernel_grad, bias_grad_V), by_token = _over_chunks(one_chunk, zeros, chunks)
        hidden_grad_BLD, *losses = _by_row(by_token, rows[1].shape)
        kernel_grad = _scattered(kernel_grad, how.mesh, embed)
        sums = _over_batch(total, how.mesh), kernel_grad, _over_batch(bias_grad_V, how.mesh)
        return sums, hidden_grad_BLD, tuple(losses)

    split = P(*(None,) * embed, "fsdp")
    out = (WHOLE, split, WHOLE), ROWS, ROWS
    run = _on_shards(local, how.mesh, rows=2, whole=2, out=out)
    (total, kernel_grad, bias_grad_V), hidden_grad_BLD, losses = run(
        *_arguments(hidden_BLD, kernel, bias_V, targets, above)
    )
    grads = (
        hidden_grad_BLD,
        kernel_grad.astype(kernel.dtype),
        None if bias_V is None else bias_grad_V.astype(bias_V.dtype),
    )
    return (total, losses), grads


def _weighted_backward(how, grads, out_grads):
    del how
    scaled = jax.tree.map(lambda g: (g * out_grads[0]).astype(g.dtype), grads)
    return *scaled, None, None


_weighted.defvjp(_weighted_forward, _weighted_backward)


def _arguments(hidden_BLD, kernel, bias_V, targets, above):
    """(arrays by row, the teacher's by row, head, the teacher's head), kernels as they multiply."""
    weights, above_rows = above or (None, None)
    if weights is not None:
        weights = weights[0].astype(hidden_BLD.dtype), weights[1]
    head = kernel.astype(hidden_BLD.dtype), bias_V
    return (hidden_BLD, *targets), above_rows, head, weights


def _chunks(rows, num_chunks):
    return jax.tree.map(lambda x: _to_chunks(x, num_chunks), rows)


def _by_row(by_token, shape):
    return jax.tree.map(lambda x: _from_chunks(x, *shape), by_token)


def _over_batch(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    return x if mesh is None else jax.lax.psum(x, sharding.BATCH_AXES)


def _scattered(x: jax.Array, mesh: Mesh | None, dimension: int) -> jax.Array:
    """The sum over all devices, each with its part of a dimension along fsdp."""
    if mesh is None:
        return x
    x = jax.lax.psum_scatter(x, "fsdp", scatter_dimension=dimension, tiled=True)
    return jax.lax.psum(x, "data")


def _chunk(chunk, weights, above_weights, how: _How) -> tuple:
    """(softmax, what a teacher says) of the tokens of a chunk."""
    (hidden_TD, targets_T, _), of_teacher = chunk
    softmax = _softmax(hidden_TD, Head(*weights, how.tied), targets_T)
    return softmax, _taught(softmax, above_weights, of_teacher, how.teacher_tied)


class _Softmax(NamedTuple):
    """Of T tokens; softmax as its numerator and denominator, so that its gradient needs no exp."""

    logits_TV: jax.Array
    exp_TV: jax.Array
    sum_T: jax.Array
    log_sum_T: jax.Array  # of exp(logits), the maximum included
    nll_T: jax.Array


def _softmax(hidden_TD, head, targets_T) -> _Softmax:
    logits_TV = logits(hidden_TD, head)
    max_T = logits_TV.max(-1)
    exp_TV = jnp.exp(logits_TV - max_T[:, None])
    sum_T = exp_TV.sum(-1)
    target_T = jnp.take_along_axis(logits_TV, targets_T[:, None], axis=-1)[:, 0]
    log_sum_T = max_T + jnp.log(sum_T)
    return _Softmax(logits_TV, exp_TV, sum_T, log_sum_T, log_sum_T - target_T)


class _Taught(NamedTuple):
    """A teacher's word on T tokens: its probabilities, their divergence from the model's, weights;
    None without a teacher."""

    share_TV: jax.Array | None = None
    kl_T: jax.Array | None = None
    weights_T: jax.Array | None = None


def _taught(softmax: _Softmax, weights, of_teacher, tied) -> _Taught:
    if weights is None:
        return _Taught()
    hidden_TD, weights_T = of_teacher
    logits_TV = logits(hidden_TD, Head(*weights, tied))
    log_share_TV = jax.nn.log_softmax(logits_TV)
    own_TV = softmax.logits_TV - softmax.log_sum_T[:, None]
    return _Taught(jnp.exp(log_share_TV), _divergence(log_share_TV, own_TV), weights_T)


def _divergence(log_share_TV: jax.Array, own_TV: jax.Array) -> jax.Array:
    """KL of log probabilities from others, [T]."""
    return (jnp.exp(log_share_TV) * (log_share_TV - own_TV)).sum(-1)


def _sum(nll_T, weights_T, taught: _Taught):
    total = (nll_T * weights_T).sum()
    if taught.kl_T is None or taught.weights_T is None:
        return total
    return total + (taught.kl_T * taught.weights_T).sum()


def _logit_gradients(softmax: _Softmax, targets_T, weights_T, taught: _Taught):
    """Of the weighted loss, fp32 [T, V]. Written out, since automatic differentiation turns the
    one-hot part into a scatter over [T, V]; here it is one comparison that fuses."""
    column_V = jnp.arange(softmax.exp_TV.shape[-1], dtype=targets_T.dtype)
    wanted_TV = jnp.where(targets_T[:, None] == column_V, weights_T[:, None], 0)
    whole_T = weights_T
    if taught.share_TV is not None and taught.weights_T is not None:
        wanted_TV += taught.share_TV * taught.weights_T[:, None]
        whole_T = weights_T + taught.weights_T
    return softmax.exp_TV * (whole_T / softmax.sum_T)[:, None] - wanted_TV


def _head_gradients(hidden_TD, kernel, delta_TV, tied):
    """fp32 gradients by hidden, kernel and bias, of those by the logits."""
    delta_TV = delta_TV.astype(hidden_TD.dtype)
    matmul = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    # The bias gradient as a product: as a sum over rows it took a quarter of the step on a CPU.
    ones_T = jnp.ones_like(hidden_TD, shape=delta_TV.shape[:1])
    bias_grad_V = matmul("t,tv->v", ones_T, delta_TV)
    if tied:
        hidden_grad = matmul("tv,vd->td", delta_TV, kernel)
        kernel_grad = matmul("tv,td->vd", delta_TV, hidden_TD)
    else:
        hidden_grad = matmul("tv,dv->td", delta_TV, kernel)
        # XLA's CPU backend has its fast product only for a left side that lies in rows.
        hidden_DT = jax.lax.optimization_barrier(hidden_TD.T)
        kernel_grad = matmul("dt,tv->dv", hidden_DT, delta_TV)
    return hidden_grad, kernel_grad, bias_grad_V
