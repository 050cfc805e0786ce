"""Schedules by hand-computed numbers, the decay mask by counts, AdamW against plain NumPy."""

import itertools
import math

import jax
import numpy as np
import pytest
from flax import nnx

from configs import base
from mypt_jax import optim
from mypt_jax.model import gpt, parameters

CONSTANT = dict(peak_lr=3e-4, warmup_steps=2000, num_steps=128_000)
SHAPE = dict(final_lr_ratio=0.1, decay_ratio=0.2)


def lr_of_update(n, schedule, **changes):
    """Learning rate of update n, counted from 1 as the guide does."""
    values = CONSTANT | SHAPE | changes
    num_steps = values.pop("num_steps")
    return float(optim.Rates({"schedule": schedule, **values}, num_steps=num_steps)(n - 1))


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (1, 1.5e-7),  # 3e-4 / 2000
        (500, 7.5e-5),
        (2000, 3e-4),
        (2001, 3e-4),
        (128_000, 3e-4),
    ],
)
def test_constant_is_linear_warmup_then_the_peak(n, want):
    assert lr_of_update(n, "constant") == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (20, 2e-4),  # warmup: 1e-3 * 20 / 100
        (100, 1e-3),
        (400, 7.75e-4),  # one third: 1e-4 + 9e-4 * (1 + cos 60 deg) / 2
        (550, 5.5e-4),  # half: the middle of 1e-3 and 1e-4
        (700, 3.25e-4),  # two thirds
        (1000, 1e-4),
    ],
)
def test_cosine_falls_to_its_share_at_the_last_update(n, want):
    got = lr_of_update(n, "cosine", peak_lr=1e-3, warmup_steps=100, num_steps=1000)
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (50, 5e-4),
        (100, 1e-3),
        (800, 1e-3),  # the last 20 % begin after update 800
        (850, 7.75e-4),  # a quarter of the way from 1e-3 to 1e-4
        (900, 5.5e-4),
        (1000, 1e-4),
    ],
)
def test_wsd_is_flat_then_falls_linearly(n, want):
    got = lr_of_update(n, "wsd", peak_lr=1e-3, warmup_steps=100, num_steps=1000)
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_no_warmup_starts_at_the_peak(schedule):
    assert lr_of_update(1, schedule, warmup_steps=0) == pytest.approx(3e-4, rel=1e-4)


def old_rate(step, *, schedule, peak_lr, warmup_steps, num_steps, final_lr_ratio, decay_ratio):
    """The formulas, written out."""
    n, final_lr = step + 1, final_lr_ratio * peak_lr
    if n < warmup_steps:
        return peak_lr * n / warmup_steps
    if schedule == "constant":
        return peak_lr
    if schedule == "cosine":
        done = min(1.0, (n - warmup_steps) / max(1, num_steps - warmup_steps))
        return final_lr + (peak_lr - final_lr) * 0.5 * (1 + math.cos(math.pi * done))
    steps = max(1.0, decay_ratio * num_steps)
    done = min(1.0, max(0.0, (n - (num_steps - steps)) / steps))
    return peak_lr + (final_lr - peak_lr) * done


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_rates_are_the_written_out_formulas(schedule):
    """No warmup, one step, all steps; no decay, all decay: where libraries' schedules trip."""
    for num_steps, final, decay in itertools.product((1, 2, 103), (0.0, 0.1, 1.0), (0, 0.333, 1)):
        for warmup in {0, 1, num_steps // 2, num_steps}:
            shape = dict(warmup_steps=warmup, final_lr_ratio=final, decay_ratio=decay)
            values = {"schedule": schedule, "peak_lr": 3e-4, **shape}
            rates = optim.Rates(values, num_steps=num_steps)
            for step in range(num_steps + 2):
                want = old_rate(step, num_steps=num_steps, **values)
                assert float(rates(step)) == pytest.approx(want, rel=3e-6, abs=0), (values, step)


def test_rates_beyond_a_block_are_those_of_one():
    values = {"schedule": "cosine", "peak_lr": 1e-3, **SHAPE, "warmup_steps": 10}
    rates = optim.Rates(values, num_steps=150_000)
    for step in (0, 65_535, 65_536, 149_999, 3, 150_001):
        want = old_rate(step, num_steps=150_000, **values)
        assert float(rates(step)) == pytest.approx(want, rel=3e-6)


def test_roles_tell_stacked_biases_from_matrices():
    config = base.get_config("tiny").model.to_dict() | {"attention": "xla"}
    config["compute_dtype"] = "float32"
    params = nnx.eval_shape(lambda: nnx.state(gpt.GPT(rngs=nnx.Rngs(0), **config), nnx.Param))
    found = parameters.roles(nnx.to_pure_dict(params))
    up = found["blocks"]["mlp"]["up"]
    assert up == {"kernel": "matrix", "bias": "vector"}  # of two and three dimensions
    assert found["embed"] == {"tokens": "table", "positions": "table"}


def test_lion_moves_by_the_sign_of_its_momentum():
    """Chen et al. 2023, algorithm 2, in NumPy; decay and clip as for the others."""
    settings = dict(beta1=0.9, beta2=0.99, weight_decay=0.1, clip_norm=1e9, eps=1e-8)
    random = np.random.default_rng(0)
    want = random.normal(size=(5, 4))
    tx = optim.make_optimizer(
        {"optimizer": "lion", **settings},
        is_matrix=lambda params: {name: True for name in params},
    )
    got = {"kernel": want.astype(np.float32)}
    state, m = tx.init(got), np.zeros_like(want)
    for lr in (1e-3, 2e-3, 5e-4):
        g = random.normal(size=want.shape)
        updates, state = tx.update({"kernel": g.astype(np.float32)}, state, got)
        got = jax.tree.map(lambda p, u, lr=lr: p - lr * u, got, updates)
        want = want - lr * (np.sign(0.9 * m + 0.1 * g) + 0.1 * want)
        m = 0.99 * m + 0.01 * g
    np.testing.assert_allclose(got["kernel"], want, rtol=1e-5, atol=1e-6)


def test_decay_mask_counts_of_the_original():
    """693,534,720 parameters decay and 66,121,344 do not: counted abstractly, no memory."""
    config = base.get_config("750m").model.to_dict() | {
        "attention": "xla",
        "compute_dtype": "float32",
    }
    params = nnx.eval_shape(lambda: nnx.state(gpt.GPT(rngs=nnx.Rngs(0), **config), nnx.Param))
    params = nnx.to_pure_dict(params)
    mask = parameters.is_matrix(params)
    counts = {True: 0, False: 0}
    for leaf, decays in zip(jax.tree.leaves(params), jax.tree.leaves(mask), strict=True):
        counts[decays] += leaf.size
    assert counts == {True: 693_534_720, False: 66_121_344}


def reference_adamw(params, gradients, lrs, *, beta1, beta2, eps, weight_decay, clip_norm):
    """Loshchilov and Hutter 2019 in float64, with clipping by the global norm before it."""
    params = {name: value.astype(np.float64) for name, value in params.items()}
    m = {name: np.zeros_like(value) for name, value in params.items()}
    v = {name: np.zeros_like(value) for name, value in params.items()}
    for t, (gradient, lr) in enumerate(zip(gradients, lrs, strict=True), 1):
        norm = np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in gradient.values()))
        for name, g in gradient.items():
            g = g * min(1.0, clip_norm / norm)
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g**2
            update = m[name] / (1 - beta1**t) / (np.sqrt(v[name] / (1 - beta2**t)) + eps)
            if name == "kernel":
                update = update + weight_decay * params[name]
            params[name] = params[name] - lr * update
    return params


def test_adamw_against_an_independent_reference():
    settings = dict(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0)
    random = np.random.default_rng(0)
    shapes = {"kernel": (7, 5), "bias": (5,), "tokens": (11, 3)}
    params = {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    # Norms on both sides of the clip, and a gradient of nearly zero where eps matters.
    gradients = [
        {name: (scale * random.normal(size=s)).astype(np.float32) for name, s in shapes.items()}
        for scale in (3.0, 0.05, 1e-7, 0.7, 0.01)
    ]
    lrs = [1e-3, 2e-3, 1e-3, 5e-4, 3e-3]
    tx = optim.make_optimizer(
        {"optimizer": "adamw", **settings},
        is_matrix=lambda params: {name: name == "kernel" for name in params},
    )
    state, got = tx.init(params), params
    for gradient, lr in zip(gradients, lrs, strict=True):
        updates, state = tx.update(gradient, state, got)
        got = jax.tree.map(lambda p, u, lr=lr: p - lr * u, got, updates)
    want = reference_adamw(params, gradients, lrs, **settings)
    for name in shapes:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-6, atol=2e-7)
