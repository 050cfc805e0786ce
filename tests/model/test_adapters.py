"""Adapters: what they add, that it is merged exactly, and that nothing else is trained."""

import jax
import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from flax import nnx
from model_factory import quick  # noqa: F401

from configs import base
from mypt_jax.model import adapters
from mypt_jax.runs import lineage
from mypt_jax.train import step

WINDOWS = np.random.default_rng(0).integers(0, 64, (4, 17)).astype(np.int32)
RANK = adapters.Adapter(3, 6.0, ("qkv", "proj", "up", "down"))


def adapted(**changes):
    """(graph, own parameters, adapters with nothing at zero) of a random model."""
    gpt = factory.randomized(**changes)
    names = [*RANK.matrices, *(["gate"] if changes.get("mlp") == "gated" else [])]
    adapters.attach(gpt, RANK._replace(matrices=names), jax.random.key(0))
    graph, state = nnx.split(gpt, nnx.Param)
    own, added = adapters.split(nnx.to_pure_dict(state))
    leaves, tree = jax.tree.flatten(added)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return graph, own, jax.tree.unflatten(tree, drawn)


@pytest.mark.parametrize("changes", [{}, {**factory.LLAMA, "scan_layers": False}])
def test_a_model_with_adapters_is_the_one_they_are_merged_into(changes):
    graph, own, added = adapted(**changes)
    rows = factory.tokens((2, 12))
    got = factory.logits(nnx.merge(graph, nnx.State(adapters.join(own, added))), rows)
    plain = factory.randomized(**changes)
    merged = adapters.merged(own, added, scale=RANK.scale)
    want = factory.logits(nnx.merge(nnx.graphdef(plain), nnx.State(merged)), rows)
    np.testing.assert_allclose(got, want, atol=2e-4)
    before = factory.logits(plain, rows)
    assert np.abs(got - before).max() > 0.1


def test_merging_is_w_and_scale_a_b():
    _, own, added = adapted()
    merged = lineage.flatten(adapters.merged(own, added, scale=RANK.scale))
    flat, more = lineage.flatten(own), lineage.flatten(added)
    for key, leaf in merged.items():
        group = key.rpartition("/")[0]
        want = np.asarray(flat[key], np.float64)
        if key.endswith("/kernel") and f"{group}/lora_a" in more:
            a, b = (np.asarray(more[f"{group}/{x}"], np.float64) for x in ("lora_a", "lora_b"))
            want = want + 2 * np.einsum("nir,nro->nio", a, b)
        np.testing.assert_allclose(leaf, want, rtol=1e-5, atol=1e-6)


def test_zero_adapters_change_no_bit():
    _, own, added = adapted()
    merged = adapters.merged(own, jax.tree.map(jnp.zeros_like, added), scale=RANK.scale)
    for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(own), strict=True):
        np.testing.assert_array_equal(a, b)


def program(**changes):
    config = base.get_config("tiny").to_dict()
    config["model"] |= dict(vocab_size=64, block_size=16, n_layer=2, n_embd=16, n_head=2)
    config |= {"batch_size": 4, "num_steps": 6}
    config["adapter"] |= {"rank": 2, "alpha": 4.0}
    for key, value in changes.items():
        config[key] |= value
    return step.build(config, eot=63, devices=jax.devices()[:1])


def test_gradients_are_those_of_the_merged_matrix():
    """dA = s dW B^T, dB = s A^T dW, and nothing else has one."""
    graph, own, added = adapted()
    rows = factory.tokens((2, 12))

    def loss(graph, params):
        return (factory.logits(nnx.merge(graph, nnx.State(params)), rows) ** 2).mean()

    got = jax.grad(lambda x: loss(graph, adapters.join(own, x)))(added)
    plain = nnx.graphdef(factory.randomized())
    merged = adapters.merged(own, added, scale=RANK.scale)
    whole = lineage.flatten(jax.grad(lambda x: loss(plain, x))(merged))
    for name, leaf in lineage.flatten(got).items():
        group, which = name.rsplit("/", 1)
        dW = np.asarray(whole[f"{group}/kernel"], np.float64)
        other = lineage.flatten(added)[f"{group}/{'lora_b' if which == 'lora_a' else 'lora_a'}"]
        rule = "nio,nro->nir" if which == "lora_a" else "nio,nir->nro"
        np.testing.assert_allclose(leaf, 2 * np.einsum(rule, dW, other), atol=2e-4, rtol=1e-3)


def test_the_model_itself_is_held_as_the_products_take_it():
    made = program(model={"compute_dtype": "bfloat16"})
    flat = lineage.flatten(made.abstract_frozen)
    kept = {key for key, x in flat.items() if x.dtype == np.float32}
    assert all(key.endswith("/kernel") for key in {*flat} - kept)
    assert {"embed/tokens", "blocks/ln1/scale", "head/bias"} <= kept
    assert {x.dtype.name for x in lineage.flatten(made.abstract_params).values()} == {"float32"}
    # So that a stage starts with the losses that its parent ended with, to the last bit.
    params = program(model={"compute_dtype": "bfloat16"}, adapter={"rank": 0}).init()["params"]
    frozen = jax.tree.map(lambda x, to: x.astype(to.dtype), params, made.abstract_frozen)
    one, other = (made.measure(x, WINDOWS)["nll"] for x in (params, frozen))
    np.testing.assert_array_equal(one, other)
    started = made.merge(frozen, made.init()["adapter"])
    np.testing.assert_array_equal(one, made.measure(started, WINDOWS)["nll"])
