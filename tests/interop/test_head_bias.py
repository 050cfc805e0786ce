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
    settings, data = {**factory.ORIGINAL, **shape}, {"domain": directory, "general": ()}

    def change(bias_V) -> tuple[float, float]:
        biased = {**params, "head": {**params["head"], "bias": jnp.asarray(bias_V, jnp.float32)}}
        found = head_bias.loss_change(biased, settings, data, eot=50256)
        assert set(found) == {"domain"}
        return found["domain"]

    before, after = change(np.log(counts + 1))
    assert after == pytest.approx(np.log(4224), rel=0.02) and before < after - 1
    before, after = change(np.full(4224, 0.5))
    assert before == pytest.approx(after, abs=1e-5)
    with pytest.raises(errors.UserError, match="names no dataset"):
        head_bias.loss_change(params, settings, {"domain": (), "general": ()}, eot=50256)
