"""What the backward pass computes again changes neither what is learned nor what is measured."""

import jax
import model_factory as factory
import numpy as np
import pytest
from model_factory import quick  # noqa: F401

from configs import base
from data_pipeline.batches.batch import Batch
from mypt_jax.train import step

STEPS = 3


def config(remat: str) -> dict:
    found = base.get_config("tiny").to_dict()
    found["model"] |= dict(n_layer=2, n_embd=64, vocab_size=256, block_size=64, remat=remat)
    return found | {"batch_size": 4}


def trained(remat: str) -> tuple[list[float], np.ndarray]:
    """(losses of the first steps with dropout, losses of the last model by token)."""
    program = step.build(config(remat), eot=0, devices=jax.devices()[:1])
    tokens = np.random.default_rng(0).integers(0, 256, (4, 65), dtype=np.int32)
    batch = Batch(tokens, np.zeros(4, np.int32))
    control = step.Control(step.dropout_key(0, 0), *np.array([1e-3, np.inf, 0], np.float32))
    state, losses = program.init(), []
    for _ in range(STEPS):
        state, figures = program.step(state, batch, control, {})
        losses.append(float(figures["loss"]))
    return losses, np.asarray(program.measure(state["params"], tokens)["nll"])


@pytest.fixture(scope="module")
def plain():
    return trained("none")


@pytest.mark.parametrize("remat", ["auto", "dots", "full"])
def test_all_policies_train_the_same_model(plain, remat):
    losses, measured = trained(remat)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-6)
    np.testing.assert_allclose(measured, plain[1], rtol=1e-5)


def test_an_evaluation_sees_nothing_of_the_policy():
    """To the last bit: a child may have another than its parent."""
    tokens = np.random.default_rng(0).integers(0, 256, (4, 65), dtype=np.int32)
    programs = [step.build(config(r), eot=0, devices=jax.devices()[:1]) for r in ("none", "auto")]
    params = programs[0].init()["params"]
    with factory.quick_compilation(False):
        one, other = (np.asarray(p.measure(params, tokens)["nll"]) for p in programs)
    np.testing.assert_array_equal(one, other)


def test_the_program_names_the_policy_that_auto_means():
    program = step.build(config("auto"), eot=0, devices=jax.devices()[:1])
    assert program.model_config["remat"] == "light" and program.notes == []
