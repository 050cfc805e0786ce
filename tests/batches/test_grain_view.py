"""The batches as a grain data set are those of the trainer."""

import pickle

import grain
import numpy as np
import pytest

from data_pipeline.batches import grain_view, loader, mixture


@pytest.fixture
def made(datasets):
    mixed = mixture.build(
        domain=(datasets["domain"],),
        general=(datasets["general"],),
        domain_weights=(),
        general_weights=(),
        replay_ratio=0.3,
    )
    return loader.TrainLoader(mixed, block_size=32, batch_size=4, seed=0)


def test_grain_reads_what_the_trainer_reads(made):
    seen = grain_view.map_dataset(made, num_batches=7).map(lambda one: one["tokens"][:, :-1])
    assert len(seen) == 7
    iterated = seen[2:].to_iter_dataset(grain.ReadOptions(num_threads=2))
    for number, inputs in enumerate(iterated, start=2):
        assert np.array_equal(inputs, made.batch(number).tokens[:, :-1])
    assert number == 6


def test_another_process_can_read_it(made):
    again = pickle.loads(pickle.dumps(grain_view.Batches(made, 3)))
    assert repr(again) == repr(grain_view.Batches(made, 3))
    assert np.array_equal(again[2]["tokens"], made.batch(2).tokens)
    with pytest.raises(IndexError):
        again[3]
