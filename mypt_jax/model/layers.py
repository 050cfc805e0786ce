"""What the GPT is made of: config, linear, norm, attention projections, MLP, block, tables, rope.

Axes: B batch, L length, D n_embd, H query heads, G key/value heads, K head size, F MLP width,
V vocabulary. Kernels are [in, out]. Parameters keep param_dtype and are cast where they are used;
norms and rope are computed in fp32.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mypt_jax.model import flops


def _gelu(x: jax.Array) -> jax.Array:
    """x times the normal distribution function, as PyTorch does: half the time of JAX's erfc on
    a CPU, and on a TPU no branches, which cost two passes over x. In fp32, since bfloat16 cancels.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * math.sqrt(0.5)))).astype(x.dtype)


ACTIVATIONS = {
    "gelu": _gelu,
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
}
INIT_STD = 0.02  # GPT-2's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of config.model (configs/base.py says what each means) and what follows."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    head_size: int  # 0 in the config: n_embd / n_head
    n_embd: int
    mlp_width: int
    mlp: str
    activation: str
    norm: str
    norm_eps: float
    norm_place: str
    qk_norm: str
    position: str
    rope_theta: float
    rope_scaling: tuple
    tied_embeddings: bool
    qkv_bias: bool
    proj_bias: bool
    mlp_bias: bool
    head_bias: bool
    dropout: float
    dropout_bits: str
    init: str
    param_dtype: str
    compute_dtype: str
    attention: str
    document_mask: bool
    remat: str
    gather_weights: bool
    scan_layers: bool
    loss_chunks: int

    def __post_init__(self):
        object.__setattr__(self, "rope_scaling", tuple(self.rope_scaling))  # JSON makes it a list
        object.__setattr__(self, "head_size", flops.head_size(vars(self)))

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def width(self) -> int:
        return flops.mlp_width(vars(self))

    @property
    def residual_std(self) -> float:
        return INIT_STD / math.sqrt(2 * self.n_layer)  # GPT-2: 2 n_layer additions to the residual


class Linear(nnx.Module):
    """x @ kernel [in, out] + bias, computed in x's dtype; with an adapter (adapters.attach) also
    lora_scale (x @ lora_a) @ lora_b."""

    lora_a: nnx.Param | None = None
    lora_b: nnx.Param | None = None
    lora_scale = 0.0

    def __init__(self, key, in_dim, out_dim, *, bias, init, std, dtype, axes=(None, None)):
        kernel_key, bias_key = jax.random.split(key)
        self.axes = axes

        def draw(key, shape, std):
            if init == "torch":  # torch.nn.Linear's default, for the bias too
                bound = 1 / math.sqrt(in_dim)
                return nnx.Param(jax.random.uniform(key, shape, dtype, -bound, bound))
            return nnx.Param(jnp.asarray(std, dtype) * jax.random.normal(key, shape, dtype))

        self.kernel = draw(kernel_key, (in_dim, out_dim), std)
        self.bias = draw(bias_key, (out_dim,), 0.0) if bias else None

    def __call__(self, x, gather):
        return self.columns(x, gather, (self.kernel.shape[-1],))[0]

    def columns(self, x, gather, widths):
        """As __call__, but its result in blocks of columns, each by a product of its own."""
        # As one matrix: with rows in two axes XLA's CPU backend copies them for the gradients. The
        # bias comes after it: before, it took 0.2 GiB more of a TPU at 750m.
        rows, blocks, start = x.reshape(-1, x.shape[-1]), [], 0
        low = None if self.lora_a is None else rows @ self.lora_a[...].astype(x.dtype)
        for width in widths:
            at = slice(start, start + width)
            y = rows @ gather(self.kernel[:, at].astype(x.dtype), self.axes)
            if low is not None and self.lora_b is not None:
                y += self.lora_scale * (low @ self.lora_b[:, at].astype(x.dtype))
            y = y.reshape(*x.shape[:-1], width)
            blocks.append(y if self.bias is None else y + self.bias[at].astype(x.dtype))
            start += width
        return tuple(blocks)


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


def _unchanged(x: jax.Array) -> jax.Array:
    return x


class Attention(nnx.Module):
    """The projections around attention; which attention is the caller's `attend`."""

    def __init__(self, key, c: Config):
        qkv_key, proj_key = jax.random.split(key)
        self.n_head, self.n_kv_head, self.head_size = c.n_head, c.kv_heads, c.head_size
        inner = self.n_head * self.head_size
        linear = functools.partial(Linear, init=c.init, dtype=c.param_dtype)
        width = (self.n_head + 2 * self.n_kv_head) * self.head_size
        self.qkv = linear(
            qkv_key, c.n_embd, width, bias=c.qkv_bias, std=INIT_STD, axes=(None, "qkv")
        )
        self.proj = linear(
            proj_key, inner, c.n_embd, bias=c.proj_bias, std=c.residual_std, axes=("qkv", None)
        )
        self.norm_whole = c.qk_norm == "all"  # all heads together, else each by itself

        def norm(heads):
            size = (heads if self.norm_whole else 1) * self.head_size
            return Norm(size, kind=c.norm, eps=c.norm_eps, dtype=c.param_dtype)

        self.q_norm = None if c.qk_norm == "none" else norm(self.n_head)
        self.k_norm = None if c.qk_norm == "none" else norm(self.n_kv_head)

    def inputs(self, x_BLD, gather):
        """Queries, keys and values, [B, L, heads * K]. Three products: on a TPU to cut the result
        of one in three cost more, and its gradient, put together from three, still more."""
        widths = (self.n_head, self.n_kv_head, self.n_kv_head)
        return self.qkv.columns(x_BLD, gather, tuple(n * self.head_size for n in widths))

    def heads(self, inputs, rope, constrain):
        """Queries, keys and values by head, normed if they are, turned to their positions."""
        q, k, v = inputs
        q_norm, k_norm = self.q_norm or _unchanged, self.k_norm or _unchanged
        if self.norm_whole:
            q, k = q_norm(q), k_norm(k)
        B, L, _ = q.shape
        H, G, K = self.n_head, self.n_kv_head, self.head_size
        placed = ("batch", "length", "heads", None)
        q_BLHK, k_BLGK = q.reshape(B, L, H, K), k.reshape(B, L, G, K)
        if not self.norm_whole:
            q_BLHK, k_BLGK = q_norm(q_BLHK), k_norm(k_BLGK)
        q_BLHK, k_BLGK = constrain(rope(q_BLHK), placed), constrain(rope(k_BLGK), placed)
        return q_BLHK, k_BLGK, constrain(v.reshape(B, L, G, K), placed)

    def output(self, out_BLHK, gather):
        return self.proj(out_BLHK.reshape(*out_BLHK.shape[:2], -1), gather)


class Mlp(nnx.Module):
    """activation(x up) down, or gated: (activation(x gate) * (x up)) down (Shazeer 2020)."""

    def __init__(self, key, c: Config):
        up_key, gate_key, down_key = jax.random.split(key, 3)
        self.activation = c.activation
        linear = functools.partial(Linear, init=c.init, dtype=c.param_dtype, bias=c.mlp_bias)
        self.up = linear(up_key, c.n_embd, c.width, std=INIT_STD, axes=(None, "mlp"))
        gate = c.mlp == "gated"
        self.gate = (
            linear(gate_key, c.n_embd, c.width, std=INIT_STD, axes=(None, "mlp")) if gate else None
        )
        self.down = linear(down_key, c.width, c.n_embd, std=c.residual_std, axes=("mlp", None))

    def inputs(self, x_BLD, gather):
        """What the activation is applied to, [B, L, F], and what it is multiplied with, or None."""
        up_BLF = self.up(x_BLD, gather)
        return (up_BLF, None) if self.gate is None else (self.gate(x_BLD, gather), up_BLF)

    def output(self, x_BLF, factor_BLF, constrain, gather):
        h_BLF = ACTIVATIONS[self.activation](x_BLF)
        h_BLF = h_BLF if factor_BLF is None else h_BLF * factor_BLF
        return self.down(constrain(h_BLF, ("batch", "length", "mlp")), gather)


def unwrapped(part: Callable) -> Callable:
    return part


class Parts(NamedTuple):
    """What the parts of a block are wrapped in: jax.checkpoint, or nothing."""

    plain: Callable = unwrapped
    attention: Callable = unwrapped  # with `output`, which follows it
    output: Callable = unwrapped


class Block(nnx.Module):
    """x += attention(ln1(x)); x += mlp(ln2(x)), with dropout on both additions.

    Norms that stand after: x += ln1(attention(x)); x += ln2(mlp(x)) (OLMo 2, arXiv:2501.00656).
    """

    def __init__(self, key, c: Config):
        attn_key, mlp_key = jax.random.split(key)
        norm = functools.partial(Norm, c.n_embd, kind=c.norm, eps=c.norm_eps, dtype=c.param_dtype)
        self.ln1, self.ln2 = norm(), norm()
        self.norms_first = c.norm_place == "before"
        self.attn = Attention(attn_key, c)
        self.mlp = Mlp(mlp_key, c)

    def __call__(self, x_BLD, *, rope, attend, dropout, constrain, gather, parts):
        """gather(kernel, logical_axes) brings a kernel to where it multiplies.

        `parts` wraps what the block is made of. Each part ends with a product, whose own result
        no gradient needs: where jax.checkpoint wraps them, norms, activations and dropout are
        computed again, and no product is."""
        placed = ("batch", "length", "embed")
        part = parts.plain

        @part
        def attention_inputs(x_BLD):
            return self.attn.inputs(self.ln1(x_BLD) if self.norms_first else x_BLD, gather)

        @parts.output
        def add_output(x_BLD, out_BLHK):
            y_BLD = self.attn.output(out_BLHK, gather)
            y_BLD = y_BLD if self.norms_first else self.ln1(y_BLD)
            return constrain(x_BLD + dropout(y_BLD, 0), placed)

        @parts.attention
        def add_attention(x_BLD, inputs):
            out_BLHK, extra = attend(*self.attn.heads(inputs, rope, constrain))
            return add_output(x_BLD, out_BLHK), extra

        @part
        def mlp_inputs(x_BLD):
            return self.mlp.inputs(self.ln2(x_BLD) if self.norms_first else x_BLD, gather)

        @part
        def add_mlp(x_BLD, inputs):
            y_BLD = self.mlp.output(*inputs, constrain, gather)
            y_BLD = y_BLD if self.norms_first else self.ln2(y_BLD)
            return constrain(x_BLD + dropout(y_BLD, 1), placed)

        x_BLD, extra = add_attention(x_BLD, attention_inputs(x_BLD))
        return add_mlp(x_BLD, mlp_inputs(x_BLD)), extra


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


def rope_frequencies(head_size: int, *, theta: float, scaling: tuple) -> jax.Array:
    """Radians per position of each of the head_size / 2 pairs (first half with second half).

    scaling: () as in Su et al. 2021; (factor,) divides positions by factor (Chen et al. 2023);
    (factor, low, high, original block_size) divides only wavelengths that are long against the
    original context, as Llama 3.1 does.
    """
    frequencies = theta ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    if not scaling:
        return frequencies
    if len(scaling) == 1:
        return frequencies / scaling[0]
    factor, low, high, original_block_size = scaling
    turns = original_block_size * frequencies / (2 * math.pi)  # in the original context
    keep = jnp.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (keep + (1 - keep) / factor)
