"""The GPT in Flax NNX: the original's architecture as default, its later one by switches.

Source of the default: mypt_v8 core/model.py (pre-norm GPT-2 shape, learned positions, LayerNorm
with bias, exact erf GELU, untied head with bias). Dropout on attention probabilities is left out
on purpose: fused attention kernels have none.

Axes: B batch, L length, N layers, D n_embd, H query heads, G key/value heads, K head size,
F MLP width, V vocabulary, M cache length. Kernels are [in, out]; each block parameter has a leading
layer axis N. Parameters keep param_dtype and are cast where they are used; norms, softmax and
logits are fp32.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mypt_jax import attention, loss

ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
}
INIT_STD = 0.02  # GPT-2's
REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
# Logical axes of every parameter, by the end of its path; "blocks" adds the layer axis in front.
PARAM_AXES = {
    ("embed", "tokens"): ("vocab", "embed"),
    ("embed", "positions"): (None, "embed"),
    ("qkv", "kernel"): ("embed", "qkv"),
    ("qkv", "bias"): ("qkv",),
    ("proj", "kernel"): ("qkv", "embed"),
    ("proj", "bias"): (None,),
    ("up", "kernel"): ("embed", "mlp"),
    ("up", "bias"): ("mlp",),
    ("gate", "kernel"): ("embed", "mlp"),
    ("gate", "bias"): ("mlp",),
    ("down", "kernel"): ("mlp", "embed"),
    ("down", "bias"): (None,),
    ("ln1", "scale"): (None,),
    ("ln1", "bias"): (None,),
    ("ln2", "scale"): (None,),
    ("ln2", "bias"): (None,),
    ("ln_f", "scale"): (None,),
    ("ln_f", "bias"): (None,),
    ("head", "kernel"): ("embed", "vocab"),
    ("head", "bias"): ("vocab",),
}


def param_axes(path: tuple[str, ...]) -> tuple[str | None, ...]:
    """Logical axis names of the parameter at `path`, e.g. ("blocks", "attn", "qkv", "kernel")."""
    axes = PARAM_AXES[tuple(path[-2:])]
    return ("layer", *axes) if path[0] == "blocks" else axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of config.model (configs/base.py says what each means) and what follows."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int
    mlp_width: int
    mlp: str
    activation: str
    norm: str
    norm_eps: float
    position: str
    rope_theta: float
    rope_scaling: tuple
    tied_embeddings: bool
    qkv_bias: bool
    proj_bias: bool
    mlp_bias: bool
    head_bias: bool
    dropout: float
    init: str
    param_dtype: str
    compute_dtype: str
    attention: str
    document_mask: bool
    remat: str
    scan_layers: bool
    loss_chunks: int

    def __post_init__(self):
        object.__setattr__(self, "rope_scaling", tuple(self.rope_scaling))  # JSON makes it a list

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def width(self) -> int:
        """MLP width; 0 means 4 n_embd, or 8/3 n_embd rounded up to 64 for the gated MLP."""
        default = 4 * self.n_embd if self.mlp == "plain" else -(-8 * self.n_embd // 192) * 64
        return self.mlp_width or default

    @property
    def residual_std(self) -> float:
        return INIT_STD / math.sqrt(2 * self.n_layer)  # GPT-2: 2 n_layer additions to the residual


def _unchanged(x, logical_axes):
    del logical_axes
    return x


class Linear(nnx.Module):
    """x @ kernel [in, out] + bias, computed in x's dtype."""

    def __init__(self, key, in_dim, out_dim, *, bias, init, std, dtype):
        kernel_key, bias_key = jax.random.split(key)

        def draw(key, shape, std):
            if init == "torch":  # torch.nn.Linear's default, for the bias too
                bound = 1 / math.sqrt(in_dim)
                return nnx.Param(jax.random.uniform(key, shape, dtype, -bound, bound))
            return nnx.Param(jnp.asarray(std, dtype) * jax.random.normal(key, shape, dtype))

        self.kernel = draw(kernel_key, (in_dim, out_dim), std)
        self.bias = draw(bias_key, (out_dim,), 0.0) if bias else None

    def __call__(self, x):
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Norm(nnx.Module):
    """LayerNorm (scale and bias) or RMSNorm (scale), computed in fp32, returned in x's dtype."""

    def __init__(self, size, *, kind, eps, dtype):
        self.eps = eps
        self.scale = nnx.Param(jnp.ones((size,), dtype))
        self.bias = nnx.Param(jnp.zeros((size,), dtype)) if kind == "layernorm" else None

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        if self.bias is not None:
            wide = wide - wide.mean(-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.eps)
        wide = wide * self.scale[...].astype(jnp.float32)
        if self.bias is not None:
            wide = wide + self.bias[...].astype(jnp.float32)
        return wide.astype(x.dtype)


class Attention(nnx.Module):
    """The projections around attention; which attention is the caller's `attend`."""

    def __init__(self, key, c: Config):
        qkv_key, proj_key = jax.random.split(key)
        self.n_head, self.n_kv_head, self.head_size = c.n_head, c.kv_heads, c.head_size
        inner = self.n_head * self.head_size
        linear = functools.partial(Linear, init=c.init, dtype=c.param_dtype)
        width = (self.n_head + 2 * self.n_kv_head) * self.head_size
        self.qkv = linear(qkv_key, c.n_embd, width, bias=c.qkv_bias, std=INIT_STD)
        self.proj = linear(proj_key, inner, c.n_embd, bias=c.proj_bias, std=c.residual_std)

    def __call__(self, x_BLD, rope, attend, constrain):
        B, L, _ = x_BLD.shape
        H, G, K = self.n_head, self.n_kv_head, self.head_size
        q, k, v = jnp.split(self.qkv(x_BLD), (H * K, (H + G) * K), axis=-1)
        heads = ("batch", "length", "heads", None)
        q_BLHK = constrain(rope(q.reshape(B, L, H, K)), heads)
        k_BLGK = constrain(rope(k.reshape(B, L, G, K)), heads)
        v_BLGK = constrain(v.reshape(B, L, G, K), heads)
        out_BLHK, extra = attend(q_BLHK, k_BLGK, v_BLGK)
        return self.proj(out_BLHK.reshape(B, L, H * K)), extra


class Mlp(nnx.Module):
    """activation(x up) down, or gated: (activation(x gate) * (x up)) down (Shazeer 2020)."""

    def __init__(self, key, c: Config):
        up_key, gate_key, down_key = jax.random.split(key, 3)
        self.activation = c.activation
        linear = functools.partial(Linear, init=c.init, dtype=c.param_dtype, bias=c.mlp_bias)
        self.up = linear(up_key, c.n_embd, c.width, std=INIT_STD)
        gate = c.mlp == "gated"
        self.gate = linear(gate_key, c.n_embd, c.width, std=INIT_STD) if gate else None
        self.down = linear(down_key, c.width, c.n_embd, std=c.residual_std)

    def __call__(self, x_BLD, constrain):
        activation = ACTIVATIONS[self.activation]
        up_BLF = self.up(x_BLD)
        if self.gate is None:
            h_BLF = activation(up_BLF)
        else:
            h_BLF = activation(self.gate(x_BLD)) * up_BLF
        return self.down(constrain(h_BLF, ("batch", "length", "mlp")))


class Block(nnx.Module):
    """x += attention(ln1(x)); x += mlp(ln2(x)), with dropout on both additions."""

    def __init__(self, key, c: Config):
        attn_key, mlp_key = jax.random.split(key)
        norm = functools.partial(Norm, c.n_embd, kind=c.norm, eps=c.norm_eps, dtype=c.param_dtype)
        self.ln1, self.ln2 = norm(), norm()
        self.attn = Attention(attn_key, c)
        self.mlp = Mlp(mlp_key, c)

    def __call__(self, x_BLD, *, rope, attend, dropout, constrain):
        placed = ("batch", "length", "embed")
        y_BLD, extra = self.attn(self.ln1(x_BLD), rope, attend, constrain)
        x_BLD = constrain(x_BLD + dropout(y_BLD, 0), placed)
        y_BLD = self.mlp(self.ln2(x_BLD), constrain)
        return constrain(x_BLD + dropout(y_BLD, 1), placed), extra


class Embed(nnx.Module):
    """Token table, and the position table where positions are learned."""

    def __init__(self, key, c: Config):
        keys = jax.random.split(key)
        std = jnp.asarray(1.0 if c.init == "torch" else INIT_STD, c.param_dtype)

        def table(key, rows):
            return nnx.Param(std * jax.random.normal(key, (rows, c.n_embd), c.param_dtype))

        self.tokens = table(keys[0], c.vocab_size)
        self.positions = table(keys[1], c.block_size) if c.position == "learned" else None


class Head(nnx.Module):
    """Kernel of the output head (none when tied) and its bias."""

    def __init__(self, key, c: Config):
        linear = Linear(
            key,
            c.n_embd,
            c.vocab_size,
            bias=c.head_bias,
            init=c.init,
            std=INIT_STD,
            dtype=c.param_dtype,
        )
        self.kernel = None if c.tied_embeddings else linear.kernel
        self.bias = linear.bias


class Cache(NamedTuple):
    """Keys and values of the positions seen so far, for decode_step."""

    k_NBMGK: jax.Array
    v_NBMGK: jax.Array


class GPT(nnx.Module):
    """Decoder-only transformer; takes exactly the keys of config.model. See __call__."""

    def __init__(self, *, rngs: nnx.Rngs, **model):
        c = Config(**model)
        self.config = c
        keys = jax.random.split(rngs.params(), 3)
        self.embed = Embed(keys[0], c)
        # Every block parameter is stacked along a leading layer axis, whether scanned or not.
        make_blocks = nnx.vmap(lambda key: Block(key, c))
        self.blocks = make_blocks(jax.random.split(keys[1], c.n_layer))
        self.ln_f = Norm(c.n_embd, kind=c.norm, eps=c.norm_eps, dtype=c.param_dtype)
        self.head = Head(keys[2], c)

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
        segments_BL: jax.Array | None = None,
        constrain: Callable = _unchanged,
    ) -> jax.Array:
        """tokens_BL -> hidden_BLD after the final norm, in compute_dtype.

        No dropout without dropout_key. segments_BL (attention.segments_from_eot) is wanted when
        config.document_mask is set, and refused when not. constrain(x, logical_axes) places
        activations on devices.
        """
        c = self.config
        if c.document_mask != (segments_BL is not None):
            raise ValueError(
                f"model.document_mask is {c.document_mask} and segments_BL is "
                f"{'missing' if segments_BL is None else 'given'}: they go together"
            )
        positions_BL = jnp.arange(tokens_BL.shape[1])[None]
        x_BLD = constrain(self._embed(tokens_BL, positions_BL), ("batch", "length", "embed"))
        rope = self._rope(positions_BL)

        def attend(q_BLHK, k_BLGK, v_BLGK):
            out = attention.attend(c.attention, q_BLHK, k_BLGK, v_BLGK, segments_BL=segments_BL)
            return out, None

        graph, stacked = nnx.split(self.blocks)

        def one_layer(x_BLD, layer):
            params, index = layer
            block = nnx.merge(graph, params)
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
            dropout = functools.partial(_dropout, rate=c.dropout, key=key)
            return block(x_BLD, rope=rope, attend=attend, dropout=dropout, constrain=constrain)

        if c.remat != "none":
            one_layer = jax.checkpoint(
                one_layer, policy=REMAT_POLICIES[c.remat], prevent_cse=not c.scan_layers
            )
        layers = (stacked, jnp.arange(c.n_layer))
        if c.scan_layers:
            x_BLD, _ = jax.lax.scan(one_layer, x_BLD, layers)
        else:
            for i in range(c.n_layer):
                x_BLD, _ = one_layer(x_BLD, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
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
                dropout=functools.partial(_dropout, rate=0.0, key=None),
                constrain=_unchanged,
            ), None

        carry = (self._embed(tokens_BL, positions_BL), cache)
        (x_BLD, cache), _ = jax.lax.scan(one_layer, carry, (stacked, jnp.arange(c.n_layer)))
        return self.ln_f(x_BLD), cache

    def init_cache(self, batch_size: int, length: int) -> Cache:
        """An empty cache for `length` positions of batch_size rows, in compute_dtype."""
        c = self.config
        shape = (c.n_layer, batch_size, length, c.kv_heads, c.head_size)
        return Cache(jnp.zeros(shape, c.compute_dtype), jnp.zeros(shape, c.compute_dtype))

    def _embed(self, tokens_BL, positions_BL):
        x_BLD = self.embed.tokens[...][tokens_BL]
        if self.embed.positions is not None:
            x_BLD = x_BLD + self.embed.positions[...][positions_BL]
        return x_BLD.astype(self.config.compute_dtype)

    def _rope(self, positions_BL):
        """The function that rotates [B, L, heads, K] by its positions; identity where learned."""
        c = self.config
        if c.position != "rope":
            return lambda x_BLHK: x_BLHK
        frequencies = rope_frequencies(c.head_size, theta=c.rope_theta, scaling=c.rope_scaling)
        angles_BLK = positions_BL[..., None] * frequencies
        cos, sin = jnp.cos(angles_BLK)[:, :, None], jnp.sin(angles_BLK)[:, :, None]

        def rotate(x_BLHK):
            a, b = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
            turned = jnp.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)
            return turned.astype(x_BLHK.dtype)

        return rotate


def rope_frequencies(head_size: int, *, theta: float, scaling: tuple) -> jax.Array:
    """Radians per position of each of the head_size / 2 pairs (first half with second half).

    scaling: () as in Su et al. 2021; ("linear", factor) divides positions by factor (Chen et al.
    2023); ("llama3", factor, low_freq_factor, high_freq_factor, original_block_size) divides only
    wavelengths that are long against the original context (Llama 3.1 model card code).
    """
    frequencies = theta ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    if not scaling:
        return frequencies
    kind, factor, *rest = scaling
    if kind == "linear":
        return frequencies / factor
    low, high, original_block_size = rest
    turns = original_block_size * frequencies / (2 * math.pi)  # in the original context
    keep = jnp.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (keep + (1 - keep) / factor)


def _dropout(x_BLD, place, *, rate, key):
    """Zeroes a share `rate` of x, scales the rest by 1 / (1 - rate); `place` numbers the call."""
    if key is None or rate == 0.0:
        return x_BLD
    kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x_BLD.shape)
    return jnp.where(kept, x_BLD / (1 - rate), 0).astype(x_BLD.dtype)
