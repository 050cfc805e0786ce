"""What the head's bias is worth, measured on the val splits; without torch."""

import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from conftest import build_dataset
from flax import nnx
from model_factory import quick  # noqa: F401

from data_pipeline import errors
from data_pipeline.tokens import shards
from mypt_jax.interop import head_bias


def test_a_bias_that_knows_the_words_is_worth_its_loss(tmp_path):
    """The log frequency of every token helps; the same number on every token does nothing."""
    directory = str(build_dataset(tmp_path / "data", {"a": 30}))
    counts = np.zeros(4224)
    for source in shards.open_dataset(directory).sources.values():
        stream = source.stream("train")
        counts += np.bincount(stream[0 : len(stream)], minlength=4224)
    shape = {"vocab_size": 4224, "n_layer": 1}
    params = nnx.to_pure_dict(factory.build(**shape)[1])
    head = {k: v for k, v in params["head"].items() if k != "bias"}
    params_without = {**params, "head": head}
    settings, data = {**factory.ORIGINAL, **shape}, {"domain": (directory,), "general": ()}

    def change(bias_V) -> tuple[float, float]:
        biased = {**params, "head": {**params["head"], "bias": jnp.asarray(bias_V, jnp.float32)}}
        found = head_bias.loss_change(biased, params_without, settings, data, eot=50256)
        assert set(found) == {"domain"}
        return found["domain"]

    before, after = change(np.log(counts + 1))
    assert after == pytest.approx(np.log(4224), rel=0.02) and before < after - 1
    before, after = change(np.full(4224, 0.5))
    assert before == pytest.approx(after, abs=1e-5)
    with pytest.raises(errors.UserError, match="names no dataset"):
        none = {"domain": (), "general": ()}
        head_bias.loss_change(params, params_without, settings, none, eot=50256)


def test_the_windows_are_those_of_the_run_and_as_its_manifest_says(tmp_path):
    """Of DIR#SOURCE that source alone; a file that was changed since is named."""
    directory = build_dataset(tmp_path / "data", {"a": 30, "b": 30})
    both, one = (
        head_bias._windows({"domain": (entry,)}, "domain", 32)
        for entry in (f"{directory}", f"{directory}#a")
    )
    assert 0 < len(one) < len(both) and (both[: len(one)] == one).all()
    (part,) = shards.open_dataset(str(directory)).sources["a"].parts["val"]
    with open(f"{part.path}.bin", "r+b") as file:
        file.write(b"\1\0" * 40)
    with pytest.raises(errors.UserError, match=part.path):
        head_bias._windows({"domain": (f"{directory}#a",)}, "domain", 32)


@pytest.mark.parametrize("tied", [False, True])
def test_a_bias_in_the_span_of_the_head_is_folded_exactly(tied):
    """Up to one number for all tokens, which softmax does not see."""
    gpt, params = factory.build(vocab_size=96, n_layer=1, tied_embeddings=tied)[:2]
    params = nnx.to_pure_dict(params)
    kernel_DV = np.asarray(params["embed"]["tokens"].T if tied else params["head"]["kernel"])
    rng = np.random.default_rng(0)
    bias_V = rng.normal(0, 2, len(kernel_DV)) @ kernel_DV + 0.7
    biased = {
        **params,
        "head": {**params.get("head", {}), "bias": jnp.asarray(bias_V, jnp.float32)},
    }
    folded = head_bias.fold(biased, tied=tied)
    assert "bias" not in folded.get("head", {})
    shift_V = (np.asarray(folded["ln_f"]["bias"]) - np.asarray(params["ln_f"]["bias"])) @ kernel_DV
    np.testing.assert_allclose(shift_V - shift_V.mean(), bias_V - bias_V.mean(), atol=2e-4)


def test_of_a_bias_outside_of_it_no_other_shift_is_nearer():
    params = nnx.to_pure_dict(factory.build(vocab_size=96, n_layer=1)[1])
    kernel_DV = np.asarray(params["head"]["kernel"], np.float64)
    rng = np.random.default_rng(1)
    bias_V = rng.normal(0, 1, 96)
    biased = {**params, "head": {**params["head"], "bias": jnp.asarray(bias_V, jnp.float32)}}
    shift_D = np.asarray(head_bias.fold(biased, tied=False)["ln_f"]["bias"], np.float64)
    shift_D -= np.asarray(params["ln_f"]["bias"])

    def left(d):
        rest_V = bias_V - d @ kernel_DV
        return float(((rest_V - rest_V.mean()) ** 2).sum())

    best = left(shift_D)
    assert best < left(np.zeros_like(shift_D))
    assert all(best <= left(shift_D + rng.normal(0, 0.05, len(shift_D))) + 1e-6 for _ in range(20))
