"""What an update makes smaller: a function of the model, a batch, a key and a teacher.

An objective returns (loss, {name: (sum, count)}). Denominators are constant, so that the mean of
the losses of equal parts is the loss of the whole, and sums and counts add exactly, whatever the
accumulation, devices and hosts.

Axes: B windows, L length, N shards of the batch, R rows taken from each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data_pipeline.batches.batch import Batch
from mypt_jax.model import loss
from mypt_jax.model.forward import Forward

Figures = dict[str, tuple[jax.Array, jax.Array]]
Objective = Callable[[Forward, Batch, jax.Array, Forward | None], tuple[jax.Array, Figures]]


class Rows(NamedTuple):
    """The most rows of a kind that a shard of the batch has in one pass: arrays have one shape,
    and what a pass has less of is padding of weight 0."""

    shards: int
    domain: int
    replay: int


def cross_entropy(model: Forward, batch: Batch, key: jax.Array, *, replay_S) -> tuple:
    """Mean negative log-likelihood over all windows, domain and replay alike."""
    inputs_BL, targets_BL = batch.tokens[:, :-1], batch.tokens[:, 1:]
    hidden_BLD = model.hidden(inputs_BL, dropout_key=key)
    B = targets_BL.shape[0]
    weights_B = jnp.full((B,), 1 / B, jnp.float32)
    total, rows = loss.weighted_loss(
        model.head,
        hidden_BLD,
        targets_BL,
        weights_B,
        num_chunks=model.num_chunks,
        mesh=model.loss_mesh,
    )
    is_replay_B = replay_S[batch.source].astype(jnp.float32)
    figures = {
        "loss/domain": _figure(rows.nll_B, 1 - is_replay_B),
        "loss/replay": _figure(rows.nll_B, is_replay_B),
    }
    return total, figures


def divergence(
    model: Forward,
    batch: Batch,
    key: jax.Array,
    teacher: Forward,
    *,
    replay_S: jax.Array,
    rows: Rows,
    ce_weight: float,
    kl_weight: jax.Array,
) -> tuple:
    """Cross-entropy on domain windows; on replay windows kl_weight x KL(teacher || model), and
    ce_weight x cross-entropy; both summed and divided by the whole batch.

    Replay rows have no dropout, in neither model: a teacher equal to the student teaches nothing.
    The teacher reads replay rows alone. No row leaves its device.
    """
    inputs_BL, targets_BL = batch.tokens[:, :-1], batch.tokens[:, 1:]
    is_replay_B = replay_S[batch.source]
    B = targets_BL.shape[0]
    hidden_BLD = model.hidden(inputs_BL, dropout_key=key, dropout_B=~is_replay_B)
    of_domain = _choose(~is_replay_B, rows.shards, rows.domain)
    of_replay = _choose(is_replay_B, rows.shards, rows.replay)
    domain_loss, domain_rows = loss.weighted_loss(
        model.head,
        of_domain.take(hidden_BLD),
        of_domain.take(targets_BL),
        of_domain.valid / B,
        num_chunks=model.num_chunks,
        mesh=model.loss_mesh,
    )
    taught = loss.Teacher(
        teacher.head,
        jax.lax.stop_gradient(teacher.hidden(of_replay.take(inputs_BL))),
        kl_weight * of_replay.valid / B,
    )
    replay_loss, replay_rows = loss.weighted_loss(
        model.head,
        of_replay.take(hidden_BLD),
        of_replay.take(targets_BL),
        ce_weight * of_replay.valid / B,
        num_chunks=model.num_chunks,
        teacher=taught,
        mesh=model.loss_mesh,
    )
    assert replay_rows.kl_B is not None  # taught
    figures = {
        "loss/domain": _figure(domain_rows.nll_B, of_domain.valid),
        "loss/replay": _figure(replay_rows.nll_B, of_replay.valid),
        "kl/replay": _figure(replay_rows.kl_B, of_replay.valid),
    }
    return domain_loss + replay_loss, figures


# config.objective.replay: how much cross-entropy the replay windows keep beside the divergence;
# None: cross-entropy alone, without a teacher.
REPLAY: Mapping[str, float | None] = {"ce": None, "kl": 0.0, "ce+kl": 1.0}


def make(name: str, *, roles: Sequence[str], rows: Rows) -> Callable:
    """The objective config.objective.replay names, as (model, batch, key, teacher, kl_weight) ->
    (loss, figures); `roles` of the sources, by number."""
    is_replay = [role == "general" for role in roles]
    ce_weight = REPLAY[name]

    def objective(model, batch, key, teacher, kl_weight):
        replay_S = jnp.asarray(is_replay)
        if ce_weight is None:
            return cross_entropy(model, batch, key, replay_S=replay_S)
        return divergence(
            model,
            batch,
            key,
            teacher,
            replay_S=replay_S,
            rows=rows,
            ce_weight=ce_weight,
            kl_weight=kl_weight,
        )

    return objective


class _Chosen(NamedTuple):
    """Rows of a batch by index, the same number from every shard of it."""

    index_NR: jax.Array
    valid: jax.Array  # fp32[N * R]: 1, or 0 for padding

    def take(self, x_B: jax.Array) -> jax.Array:
        """x [B, ...] -> [N * R, ...]; every shard takes from its own."""
        shards = self.index_NR.shape[0]
        x_NB = x_B.reshape(shards, -1, *x_B.shape[1:])
        taken = jax.vmap(lambda rows, index: rows[index])(x_NB, self.index_NR)
        return taken.reshape(-1, *x_B.shape[1:])


def _choose(is_wanted_B: jax.Array, shards: int, most: int) -> _Chosen:
    wanted_NB = is_wanted_B.reshape(shards, -1)
    index_NR = jnp.argsort(~wanted_NB, axis=1, stable=True)[:, :most]
    valid = jnp.take_along_axis(wanted_NB, index_NR, axis=1)
    return _Chosen(index_NR, valid.reshape(-1).astype(jnp.float32))


def _figure(loss_B: jax.Array, valid_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    return (loss_B * valid_B).sum(), valid_B.sum()
