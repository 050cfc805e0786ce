"""Small models for the tests of model, loss, attention, generate and interop."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mypt_jax.model import gpt as model
from mypt_jax.runs import lineage

ORIGINAL = {
    "vocab_size": 97,
    "block_size": 16,
    "n_layer": 3,
    "n_head": 4,
    "n_kv_head": 0,
    "head_size": 0,
    "n_embd": 32,
    "mlp_width": 0,
    "mlp": "plain",
    "activation": "gelu",
    "norm": "layernorm",
    "norm_eps": 1e-5,
    "norm_place": "before",
    "qk_norm": "none",
    "position": "learned",
    "rope_theta": 10_000.0,
    "rope_scaling": (),
    "tied_embeddings": False,
    "qkv_bias": False,
    "proj_bias": False,
    "mlp_bias": True,
    "head_bias": True,
    "dropout": 0.0,
    "init": "scaled_normal",
    "param_dtype": "float32",
    "compute_dtype": "float32",
    "attention": "xla",
    "document_mask": False,
    "remat": "none",
    "dropout_bits": "threefry",
    "gather_weights": False,
    "scan_layers": True,
    "loss_chunks": 1,
}
LLAMA = {
    "n_kv_head": 2,
    "mlp": "gated",
    "mlp_width": 48,
    "activation": "silu",
    "norm": "rmsnorm",
    "norm_eps": 1e-6,
    "position": "rope",
    "mlp_bias": False,
    "head_bias": False,
}


@contextlib.contextmanager
def quick_compilation(on: bool = True):
    """XLA without its expensive passes: half the time of a test, the same mathematics."""
    jax.config.update("jax_disable_most_optimizations", on)
    yield
    jax.config.update("jax_disable_most_optimizations", not on)


@pytest.fixture(autouse=True, scope="module")
def quick():
    """For all tests of a module that imports it."""
    with quick_compilation():
        yield


def build(seed: int = 0, **changes):
    """(GPT, its parameters as a state) of the original's architecture with `changes`."""
    gpt = model.GPT(rngs=nnx.Rngs(seed), **{**ORIGINAL, **changes})
    return gpt, nnx.split(gpt, nnx.Param)[1]


def randomized(seed: int = 0, **changes):
    """A GPT whose every parameter is random, biases and norms too, so that none can be lost."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        around = 1.0 if path[-1] == "scale" else 0.0
        scale = 1.0 if path[0] == "embed" else 0.1
        return jnp.asarray(around + scale * rng.standard_normal(leaf.shape), leaf.dtype)

    abstract = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **{**ORIGINAL, **changes}))
    graph, shapes = nnx.split(abstract)
    drawn = {path: draw(path, leaf) for path, leaf in nnx.to_flat_state(shapes)}
    return nnx.merge(graph, nnx.from_flat_state(drawn))


@functools.partial(jax.jit, static_argnames="constrain")
def hidden(gpt, rows, **kwargs):
    """gpt(rows, ...), compiled."""
    return gpt(rows, **kwargs)


@jax.jit
def logits(gpt, rows):
    return gpt.logits(gpt(rows))


def tokens(shape, seed: int = 0, vocab_size: int = ORIGINAL["vocab_size"]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab_size, shape, dtype=np.int32)


def flat(gpt) -> dict[str, np.ndarray]:
    """{"blocks/attn/qkv/kernel": float64 array} of a GPT."""
    pure = nnx.to_pure_dict(nnx.split(gpt, nnx.Param)[1])
    return {k: np.asarray(v, np.float64) for k, v in lineage.flatten(pure).items()}
