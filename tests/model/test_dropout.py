import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mypt_jax.model import dropout

SHAPE = (64, 64, 64)


def masks(bits: str, *, rate: float = 0.1) -> list[np.ndarray]:
    """Of two seeds, layers and places each."""
    draw = jax.jit(functools.partial(dropout.apply, rate=rate, bits=bits))
    return [
        np.asarray(draw(jnp.ones(SHAPE), place, key=jax.random.fold_in(jax.random.key(seed), n)))
        for seed in (0, 1)
        for n in (0, 1)
        for place in (0, 1)
    ]


@pytest.mark.parametrize("bits", dropout.KEPT)
def test_it_keeps_the_mean_and_differs_by_seed_layer_and_place(bits):
    found = masks(bits)
    for mask in found:
        assert abs(mask.mean() - 1) < 0.01
        assert abs((mask == 0).mean() - 0.1) < 0.005
    for a in range(len(found)):
        for b in range(a):
            assert abs(np.corrcoef(found[a].ravel(), found[b].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("bits", dropout.KEPT)
def test_neighbours_in_no_dimension_and_no_power_of_two_apart_are_alike(bits):
    mask = masks(bits, rate=0.5)[0] == 0
    flat = mask.ravel()
    for distance in [2**n for n in range(15)]:
        assert abs(np.corrcoef(flat[distance:], flat[:-distance])[0, 1]) < 0.01, distance
    for axis in range(3):  # no row, column or plane of its own
        others = tuple(n for n in range(3) if n != axis)
        assert abs(mask.mean(others) - 0.5).max() < 0.04


def test_the_hash_is_a_function_of_the_element_s_number_and_both_words_of_the_key():
    """By the definition in NumPy, so that masks do not change with jax, device or mesh."""
    key = jax.random.key(7)
    first, second = np.asarray(jax.random.key_data(key))
    shape = (3, 5, 7)
    with np.errstate(over="ignore"):
        x = np.arange(3 * 5 * 7, dtype=np.uint32).reshape(shape) ^ first
        x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> 15) ^ second) * np.uint32(0x846CA68B)
        x ^= x >> 16
    kept = dropout.KEPT["hash"](key, 0.25, shape)
    np.testing.assert_array_equal(kept, x >= np.uint32(2**30))


@pytest.mark.parametrize("bits", dropout.KEPT)
def test_keys_of_another_generator_do_too(bits):
    """JAX_DEFAULT_PRNG_IMPL=rbg is what some set on TPUs; its keys have four words."""
    keys = [jax.random.key(seed, impl="rbg") for seed in (0, 1)]
    one, other = (dropout.apply(jnp.ones(SHAPE), 0, rate=0.1, key=k, bits=bits) for k in keys)
    assert abs((np.asarray(one) == 0).mean() - 0.1) < 0.005
    assert (np.asarray(one) != np.asarray(other)).any()


@pytest.mark.parametrize(
    ("name", "platform", "bits"),
    [("auto", "tpu", "hash"), ("auto", "gpu", "threefry"), ("auto", "cpu", "threefry")]
    + [("threefry", "tpu", "threefry"), ("hash", "cpu", "hash")],
)
def test_auto_asks_the_device(name, platform, bits):
    class Device:
        pass

    Device.platform = platform
    assert dropout.resolve(name, Device()) == bits
