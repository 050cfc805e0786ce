"""The GPT in Flax NNX: the original's architecture as default, its later one by switches.

Source of the default: mypt_v8 core/model.py (pre-norm GPT-2 shape, learned positions, LayerNorm
with bias, exact erf GELU, untied head with bias, residual dropout). Dropout on attention
probabilities is left out on purpose: fused attention kernels have none.

Axes: B batch, L length, N layers, D n_embd, H query heads, G key/value heads, K head size,
V vocabulary, M cache length. Each block parameter has a leading layer axis N.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from data_pipeline.errors import UserError
from mypt_jax.model import attention, dropout, flops, layers, loss

REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


def _unchanged(x, logical_axes):
    del logical_axes
    return x


class Cache(NamedTuple):
    """Keys and values of the positions seen so far, for decode_step."""

    k_NBMGK: jax.Array
    v_NBMGK: jax.Array


def resolve(config: Mapping, device: jax.Device) -> dict:
    """config.model with attention, compute_dtype and dropout's bits chosen for the device.

    auto is bfloat16 on TPUs and on GPUs of compute capability 8.0 or more, float32 elsewhere.
    """
    resolved = dict(config)
    if config["compute_dtype"] == "auto":
        modern = device.platform == "tpu" or attention.compute_capability(device) >= 8.0
        resolved["compute_dtype"] = "bfloat16" if modern else "float32"
    resolved["dropout_bits"] = dropout.resolve(config["dropout_bits"], device)
    resolved["attention"] = attention.resolve(config["attention"], device)
    # A kernel that was asked for by name is not swapped for another in silence.
    unfit = _unfit(resolved["attention"], resolved)
    if unfit and config["attention"] != "auto":
        raise UserError(f"{unfit}, or set model.attention=xla")
    if unfit:
        resolved["attention"] = "xla"
    return resolved


def _unfit(backend: str, resolved: Mapping) -> str:
    return attention.unfit(
        backend,
        block_size=resolved["block_size"],
        head_size=flops.head_size(resolved),
        compute_dtype=resolved["compute_dtype"],
    )


def device_note(resolved: Mapping, device: jax.Device) -> str:
    """A line where the device or the model rules out the fused attention kernel, else ""."""
    usual = attention.resolve("auto", device)
    reason = _unfit(usual, resolved)
    if reason:
        return f"attention by xla, not by {usual}: {reason}"
    capability = attention.compute_capability(device)
    if device.platform in ("cpu", "tpu") or capability >= 8.0:
        return ""
    return (
        f"{device.device_kind}: compute capability {capability:g} has neither fused attention nor "
        f"bfloat16, which begin at 8.0: attention={resolved['attention']}, "
        f"compute_dtype={resolved['compute_dtype']}"
    )


class GPT(nnx.Module):
    """Decoder-only transformer; takes exactly the keys of config.model. See __call__."""

    def __init__(self, *, rngs: nnx.Rngs, **model):
        c = layers.Config(**model)
        self.config = c
        keys = jax.random.split(rngs.params(), 3)
        self.embed = layers.Embed(keys[0], c)
        # Every block parameter is stacked along a leading layer axis, whether scanned or not: one
        # layout on disk, so that scan_layers can differ between a run and who reads it.
        make_blocks = nnx.vmap(lambda key: layers.Block(key, c))
        self.blocks = make_blocks(jax.random.split(keys[1], c.n_layer))
        self.ln_f = layers.Norm(c.n_embd, kind=c.norm, eps=c.norm_eps, dtype=c.param_dtype)
        self.head = layers.Head(keys[2], c)

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
        dropout_B: jax.Array | None = None,
        segments_BL: jax.Array | None = None,
        constrain: Callable = _unchanged,
        mesh: jax.sharding.Mesh | None = None,
    ) -> jax.Array:
        """tokens_BL -> hidden_BLD after the final norm, in compute_dtype.

        No dropout without dropout_key; with dropout_B bool[B] in those rows only. segments_BL
        (attention.segments_from_eot) is wanted when document_mask is set, and refused when not.
        constrain(x, logical_axes) places activations on devices; `mesh` are the devices, for
        kernels that are split by hand.
        """
        c = self.config
        if c.document_mask != (segments_BL is not None):
            raise ValueError(
                f"model.document_mask is {c.document_mask} and segments_BL is "
                f"{'missing' if segments_BL is None else 'given'}: they go together"
            )
        positions_BL = jnp.arange(tokens_BL.shape[1])[None]
        x_BLD = self._embed(tokens_BL, positions_BL, constrain)
        x_BLD = constrain(x_BLD, ("batch", "length", "embed"))
        rope = self._rope(positions_BL)

        def attend(q_BLHK, k_BLGK, v_BLGK):
            out = attention.attend(
                c.attention, q_BLHK, k_BLGK, v_BLGK, segments_BL=segments_BL, mesh=mesh
            )
            return out, None

        graph, stacked = nnx.split(self.blocks)

        def one_layer(x_BLD, layer):
            params, index = layer
            block = nnx.merge(graph, params)
            # By the layer's number, so that a scan and a loop draw the same masks.
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
            drop = functools.partial(
                dropout.apply, rate=c.dropout, key=key, bits=c.dropout_bits, rows_B=dropout_B
            )
            return block(
                x_BLD,
                rope=rope,
                attend=attend,
                dropout=drop,
                constrain=constrain,
                gather=constrain if c.gather_weights else _unchanged,
                parts=parts,
            )

        # A loop keeps the two computations of a layer apart by itself.
        again = functools.partial(jax.checkpoint, prevent_cse=not c.scan_layers)
        parts = layers.Parts()
        if c.remat == "light" and attention.saves_by_name(c.attention):
            parts = layers.Parts(again, functools.partial(again, policy=attention.SAVE_RESULT))
        elif c.remat == "light":
            parts = layers.Parts(again, output=again)
        step = one_layer
        if c.remat in REMAT_POLICIES:
            step = again(one_layer, policy=REMAT_POLICIES[c.remat])
        numbered = (stacked, jnp.arange(c.n_layer))
        if c.scan_layers:
            x_BLD, _ = jax.lax.scan(step, x_BLD, numbered)
        else:
            for i in range(c.n_layer):
                x_BLD, _ = step(x_BLD, jax.tree.map(lambda leaf, i=i: leaf[i], numbered))
        return self.ln_f(x_BLD)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """hidden [..., D] -> fp32 logits [..., V]."""
        return loss.logits(hidden, self.head_weights())

    def head_weights(self) -> loss.Head:
        """Kernel and bias of the output head; the token table where embeddings are tied."""
        bias_V = None if self.head.bias is None else self.head.bias[...]
        if self.head.kernel is None:
            return loss.Head(self.embed.tokens[...], bias_V, True)
        return loss.Head(self.head.kernel[...], bias_V, False)

    def decode_step(
        self, tokens_BL: jax.Array, starts_B: jax.Array, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        """Hidden states of new tokens given the cached ones: tokens_BL, first positions -> (
        hidden_BLD, cache).

        Row b's tokens take positions starts_B[b].. and see everything cached before them. Serves
        the prompt (L tokens) and each new token (L = 1). Positions behind a row's last real token
        may hold padding: nothing sees them before they are overwritten.
        """
        c = self.config
        positions_BL = starts_B[:, None] + jnp.arange(tokens_BL.shape[1])
        rows_B1 = jnp.arange(tokens_BL.shape[0])[:, None]
        cached_M = jnp.arange(cache.k_NBMGK.shape[2])
        mask_BLM = cached_M[None, None, :] <= positions_BL[:, :, None]
        rope = self._rope(positions_BL)
        graph, stacked = nnx.split(self.blocks)

        def one_layer(carry, layer):
            x_BLD, cache = carry
            params, index = layer

            def attend(q_BLHK, k_BLGK, v_BLGK):
                at = (index, rows_B1, positions_BL)
                new = Cache(cache.k_NBMGK.at[at].set(k_BLGK), cache.v_NBMGK.at[at].set(v_BLGK))
                k_BMGK, v_BMGK = new.k_NBMGK[index], new.v_NBMGK[index]
                return attention.attend_masked(q_BLHK, k_BMGK, v_BMGK, mask_BLM), new

            block = nnx.merge(graph, params)
            return block(
                x_BLD,
                rope=rope,
                attend=attend,
                dropout=lambda x_BLD, place: x_BLD,
                constrain=_unchanged,
                gather=_unchanged,
                parts=layers.Parts(),
            ), None

        # The cache is carried whole: as an output of each layer it would be copied at every token.
        carry = (self._embed(tokens_BL, positions_BL), cache)
        (x_BLD, cache), _ = jax.lax.scan(one_layer, carry, (stacked, jnp.arange(c.n_layer)))
        return self.ln_f(x_BLD), cache

    def init_cache(self, batch_size: int, length: int) -> Cache:
        """An empty cache for `length` positions of batch_size rows, in compute_dtype."""
        c = self.config
        shape = (c.n_layer, batch_size, length, c.kv_heads, c.head_size)
        return Cache(jnp.zeros(shape, c.compute_dtype), jnp.zeros(shape, c.compute_dtype))

    def _embed(self, tokens_BL, positions_BL, constrain=_unchanged):
        x_BLD = constrain(self.embed.tokens[...], ("vocab", "lookup"))[tokens_BL]
        if self.embed.positions is not None:
            x_BLD = x_BLD + self.embed.positions[...][positions_BL]
        # After the sum, so that it is rounded once.
        return x_BLD.astype(self.config.compute_dtype)

    def _rope(self, positions_BL):
        """The function that rotates [B, L, heads, K] by its positions; identity where learned."""
        c = self.config
        if c.position != "rope":
            return lambda x_BLHK: x_BLHK
        frequencies = layers.rope_frequencies(
            c.head_size, theta=c.rope_theta, scaling=c.rope_scaling
        )
        angles_BLK = positions_BL[..., None] * frequencies
        cos, sin = jnp.cos(angles_BLK)[:, :, None], jnp.sin(angles_BLK)[:, :, None]

        def rotate(x_BLHK):
            # In fp32: bfloat16 cannot tell the angles of neighbours far into the context apart.
            a, b = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
            turned = jnp.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)
            return turned.astype(x_BLHK.dtype)

        return rotate
