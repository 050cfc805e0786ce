"""Causal self-attention by backend, with optional document masking.

Axes: B batch, L length, H query heads, G key/value heads, R = H / G, K head size, M key positions.

Every backend is one function (q_BLHK, k_BLGK, v_BLGK, segments_BL or None) -> out_BLHK that scales
by 1/sqrt(K), lets position i see positions j <= i only, and, where segments are given, only those
with the same segment number.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from data_pipeline import errors
from mypt_jax.distributed import sharding

BACKENDS = ("xla", "cudnn", "splash", "splash_interpret")
SPLASH_LANES = 128  # splash works on key blocks of a multiple of this many positions
SPLASH_BLOCK = 512
CUDNN_HEAD_SIZE = 128  # on every GPU that has it
RESULT = "attention"  # the name of what splash gives, for jax.checkpoint
SAVE_RESULT = jax.checkpoint_policies.save_only_these_names(RESULT)

Attend = Callable[..., jax.Array]


def resolve(name: str, device: jax.Device) -> str:
    """Returns the backend that `name` means on `device`; "auto" asks the device.

    Raises UserError for a name that does not exist or cannot run on this platform.
    """
    platform = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    if name == "auto":
        if platform == "tpu":
            return "splash"
        if platform == "gpu" and compute_capability(device) >= 8.0:
            return "cudnn"
        return "xla"
    if name not in BACKENDS:
        raise errors.UserError(
            f"model.attention is {name!r}, wanted auto or one of {', '.join(BACKENDS)}"
        )
    needs = {"cudnn": "gpu", "splash": "tpu"}.get(name)
    if needs and platform != needs:
        raise errors.UserError(
            f"model.attention={name} needs a {needs}, this device is a {platform}: use auto or xla"
        )
    if name == "cudnn" and compute_capability(device) < 8.0:
        raise errors.UserError(
            f"model.attention=cudnn needs compute capability 8.0, this GPU has "
            f"{compute_capability(device)}: use auto or xla"
        )
    return name


def unfit(name: str, *, block_size: int, head_size: int, compute_dtype: str) -> str:
    """Why a backend cannot compute this model and what would do, "" when it can."""
    if name == "splash" and block_size % SPLASH_LANES:
        return (
            f"model.attention=splash needs block_size to be a multiple of {SPLASH_LANES}, got "
            f"{block_size}: change model.block_size"
        )
    if name == "cudnn" and compute_dtype not in ("bfloat16", "float16"):
        return (
            f"model.attention=cudnn computes in bfloat16, got {compute_dtype}: "
            "set model.compute_dtype=bfloat16"
        )
    if name == "cudnn" and (head_size % 8 or head_size > CUDNN_HEAD_SIZE):
        return (
            f"model.attention=cudnn wants heads of a multiple of 8 and at most {CUDNN_HEAD_SIZE}, "
            f"got n_embd / n_head = {head_size}: change model.n_head"
        )
    return ""


def saves_by_name(name: str) -> bool:
    """Whether a backend's result can be kept alone, with SAVE_RESULT, and its inputs be made again.

    Splash wants heads in front, in tiles of 128: at K = 64 inputs that it saved would take twice
    their size. The others save inputs as they come.
    """
    return name.startswith("splash")


def compute_capability(device: jax.Device) -> float:
    """CUDA compute capability as a number (8.0 is an A100); 0 where the device has none."""
    try:
        return float(getattr(device, "compute_capability", None) or 0.0)
    except ValueError:  # ROCm reports an architecture name such as gfx942
        return 0.0


def segments_from_eot(tokens_BL: jax.Array, eot: int) -> jax.Array:
    """Document number of every position, counted in its row; EOT belongs to the one it ends."""
    ends_BL = (tokens_BL == eot).astype(jnp.int32)
    return jnp.cumsum(ends_BL, axis=1) - ends_BL


def attend(
    backend: str,
    q_BLHK: jax.Array,
    k_BLGK: jax.Array,
    v_BLGK: jax.Array,
    *,
    segments_BL: jax.Array | None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Causal attention of a whole window through the named backend; out_BLHK in q's dtype.

    `mesh`: the devices over which arrays are split, None for one device.
    """
    reason = unfit(
        backend.removesuffix("_interpret"),
        block_size=q_BLHK.shape[1],
        head_size=q_BLHK.shape[3],
        compute_dtype=q_BLHK.dtype.name,
    )
    if reason:
        raise errors.UserError(reason)
    function = {
        "xla": _xla,
        "cudnn": _cudnn,
        "splash": functools.partial(_splash, mesh=mesh),
        "splash_interpret": functools.partial(_splash, mesh=mesh, interpret=True),
    }[backend]
    return function(q_BLHK, k_BLGK, v_BLGK, segments_BL)


def attend_masked(
    q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask_BLM: jax.Array
) -> jax.Array:
    """Attention under an explicit boolean mask (True is visible); softmax in fp32.

    The mask may have a leading 1 in place of B. Plain XLA: also the cached decode step uses it.
    """
    B, L, H, K = q_BLHK.shape
    G = k_BMGK.shape[2]
    # Heads in front: products of one head are then plain ones, a third faster on a CPU.
    q_BGRLK = q_BLHK.reshape(B, L, G, H // G, K).transpose(0, 2, 3, 1, 4)
    k_BGMK, v_BGMK = k_BMGK.swapaxes(1, 2), v_BMGK.swapaxes(1, 2)
    scores_BGRLM = jnp.einsum(
        "bgrlk,bgmk->bgrlm", q_BGRLK, k_BGMK, preferred_element_type=jnp.float32
    )
    scores_BGRLM = jnp.where(
        mask_BLM[:, None, None], scores_BGRLM / math.sqrt(K), jnp.finfo(jnp.float32).min
    )
    weights_BGRLM = jax.nn.softmax(scores_BGRLM, axis=-1).astype(v_BMGK.dtype)
    out_BGRLK = jnp.einsum("bgrlm,bgmk->bgrlk", weights_BGRLM, v_BGMK)
    return out_BGRLK.transpose(0, 3, 1, 2, 4).reshape(B, L, H, K)


def visible(length: int, segments_BL: jax.Array | None) -> jax.Array:
    """Boolean mask [B or 1, L, L]: causal, and within one document where segments are given."""
    positions_L = jnp.arange(length)
    mask_BLM = (positions_L[:, None] >= positions_L[None, :])[None]
    if segments_BL is not None:
        mask_BLM = mask_BLM & (segments_BL[:, :, None] == segments_BL[:, None, :])
    return mask_BLM


def _xla(q_BLHK, k_BLGK, v_BLGK, segments_BL):
    return attend_masked(q_BLHK, k_BLGK, v_BLGK, visible(q_BLHK.shape[1], segments_BL))


def _cudnn(q_BLHK, k_BLGK, v_BLGK, segments_BL):
    mask = None if segments_BL is None else visible(q_BLHK.shape[1], segments_BL)[:, None]
    return jax.nn.dot_product_attention(
        q_BLHK, k_BLGK, v_BLGK, mask=mask, is_causal=True, implementation="cudnn"
    )


def _splash(q_BLHK, k_BLGK, v_BLGK, segments_BL, *, mesh: Mesh | None, interpret: bool = False):
    """Splash attention, mapped by hand over the mesh, since XLA cannot split a Pallas kernel."""
    run = functools.partial(_splash_local, interpret=interpret)
    sizes = {} if mesh is None else mesh.shape
    batch_axes = tuple(a for a in sharding.BATCH_AXES if sizes.get(a, 1) > 1)
    head_axis = "tensor" if sizes.get("tensor", 1) > 1 else None
    if not batch_axes and head_axis is None:
        return run(q_BLHK, k_BLGK, v_BLGK, segments_BL)
    if head_axis is not None and k_BLGK.shape[2] % sizes[head_axis]:
        # Fewer key heads than tensor shards: give each query head its own copy of its key head.
        repeats = q_BLHK.shape[2] // k_BLGK.shape[2]
        k_BLGK, v_BLGK = (jnp.repeat(x, repeats, axis=2) for x in (k_BLGK, v_BLGK))
    heads = PartitionSpec(batch_axes or None, None, head_axis, None)
    rows = PartitionSpec(batch_axes or None, None)
    return jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(heads, heads, heads, None if segments_BL is None else rows),
        out_specs=heads,
        check_vma=False,
    )(q_BLHK, k_BLGK, v_BLGK, segments_BL)


def _splash_local(q_BLHK, k_BLGK, v_BLGK, segments_BL, *, interpret):
    # Here: other devices need no Pallas, and start without it.
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as splash_kernel,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_mask as splash_mask,
    )

    L, H, K = q_BLHK.shape[1:]
    block = math.gcd(L, SPLASH_BLOCK)
    kernel = splash_kernel.make_splash_mha(
        splash_mask.MultiHeadMask([splash_mask.CausalMask((L, L))] * H),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
        residual_checkpoint_name=RESULT,
        block_sizes=splash_kernel.BlockSizes(
            block_q=block,
            block_kv=block,
            block_kv_compute=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_kv_dkv_compute=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
    )
    q_BHLK = (q_BLHK * (1 / math.sqrt(K))).swapaxes(1, 2)  # the kernel itself does not scale
    k_BGLK, v_BGLK = k_BLGK.swapaxes(1, 2), v_BLGK.swapaxes(1, 2)
    if segments_BL is None:
        out_BHLK = jax.vmap(kernel)(q_BHLK, k_BGLK, v_BGLK)
    else:
        ids = splash_kernel.SegmentIds(q=segments_BL, kv=segments_BL)
        out_BHLK = jax.vmap(kernel)(q_BHLK, k_BGLK, v_BGLK, ids)
    return out_BHLK.swapaxes(1, 2).astype(q_BLHK.dtype)
