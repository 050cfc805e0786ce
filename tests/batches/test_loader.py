"""Batches are a pure function of (data, seed, step), whatever the hosts, threads and history."""

import threading

import numpy as np
import pytest
from conftest import build_dataset

from data_pipeline import errors
from data_pipeline.batches import loader, mixture

BLOCK = 64


def mixed(datasets, ratio=0.3):
    return mixture.build(
        domain=(datasets["domain"],),
        general=(datasets["general"],),
        domain_weights=(),
        general_weights=(),
        replay_ratio=ratio,
    )


def make(of, *, rows=None, seed=0, batch_size=12, block_size=BLOCK):
    return loader.TrainLoader(
        of,
        block_size=block_size,
        batch_size=batch_size,
        seed=seed,
        rows=rows,
    )


def contents(stream):
    """The whole stream as bytes, for find."""
    return stream[0 : len(stream)].tobytes()


def find(content, window):
    """Where a window stands in a stream's contents: its start, or -1."""
    wanted, at = window.tobytes(), content.find(window.tobytes())
    while at % 4 > 0:  # inside an id; -1 is 3 modulo 4, but ends the search below
        if at < 0:
            return -1
        at = content.find(wanted, at + 1)
    return at // 4


@pytest.mark.parametrize("count", [2, 3, 4, 6, 12])
def test_any_number_of_hosts_reads_the_same_batches(datasets, count):
    of = mixed(datasets)
    # Rows as a TPU slice deals them out: not one after another.
    dealt = np.array_split(np.random.default_rng(count).permutation(12), count)
    alone, hosts = make(of), [make(of, rows=rows) for rows in dealt]
    for step in (0, 1, 57, 100_000):
        for host, rows in zip(hosts, dealt, strict=True):
            assert np.array_equal(host.batch(step).tokens, alone.batch(step).tokens[rows])
            assert np.array_equal(host.batch(step).source, alone.batch(step).source[rows])


def test_resuming_on_other_hosts_goes_on_row_for_row(datasets):
    of = mixed(datasets)
    alone = make(of)
    for step, count in [(0, 4), (1, 4), (2, 2), (3, 2), (4, 1)]:
        parts = np.array_split(np.arange(12), count)
        rows = [make(of, rows=part).batch(step).tokens for part in parts]
        assert np.array_equal(np.concatenate(rows), alone.batch(step).tokens)


def test_windows_come_from_their_sources_in_the_exact_shares(datasets):
    of = mixed(datasets)
    made = make(of, batch_size=10)
    streams = {one.key: contents(one.data.stream("train")) for one in of.components}
    drawn = dict.fromkeys(streams, 0)
    for step in range(6):
        for row, number in zip(*made.batch(step), strict=True):
            found = [key for key, stream in streams.items() if find(stream, row) >= 0]
            assert found == [of.components[number].key]
            drawn[found[0]] += 1
        assert drawn == made.counts(step + 1)
        # 30 % replay is 3 of every 10 windows, not about 3.
        assert drawn["general/encyclopedia"] == 3 * (step + 1)


def test_an_epoch_has_every_window_once_and_the_next_is_cut_elsewhere(datasets):
    of = mixed(datasets, ratio=1)
    stream = contents(of.components[-1].data.stream("train"))
    made = make(of, batch_size=1, block_size=256)
    per_epoch = round(1 / made.epochs(1)["general/encyclopedia"])
    starts = [find(stream, made.batch(step).tokens[0]) for step in range(2 * per_epoch)]
    first, second = starts[:per_epoch], starts[per_epoch:]
    for epoch in (first, second):
        assert len(set(epoch)) == per_epoch
        assert sorted(epoch) == list(range(min(epoch), min(epoch) + 256 * per_epoch, 256))
    assert min(first) != min(second)
    assert first != sorted(first)
    assert [start - min(first) for start in first] != [start - min(second) for start in second]


def test_seed_changes_the_order(datasets):
    of = mixed(datasets)
    assert not np.array_equal(make(of, seed=0).batch(0).tokens, make(of, seed=1).batch(0).tokens)
    assert make(of, seed=0).fingerprint != make(of, seed=1).fingerprint


def test_fingerprint_names_what_decides_the_batches(datasets, tmp_path):
    base = make(mixed(datasets))
    assert base.fingerprint == make(mixed(datasets), rows=range(6, 12)).fingerprint
    for other in (
        make(mixed(datasets, ratio=0.2)),
        make(mixed(datasets), batch_size=24),
        make(mixed(datasets), block_size=32),
        make(mixed({**datasets, "domain": str(build_dataset(tmp_path / "d", {"x": 110}))})),
    ):
        assert other.fingerprint != base.fingerprint
        assert other.describe() != base.describe()


def test_prefetch_gives_the_batches_of_the_loader(datasets):
    made = make(mixed(datasets))
    with made.prefetch(5, 3) as batches:
        for wanted in range(5, 20):
            step, batch = next(batches)
            assert step == wanted
            assert np.array_equal(batch.tokens, made.batch(step).tokens)
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]


def test_prefetch_hands_over_errors(datasets, monkeypatch):
    made = make(mixed(datasets))

    def broken(step):
        if step == 2:
            raise errors.UserError("shard gone")
        return np.zeros(1)

    monkeypatch.setattr(made, "batch", broken)
    batches = made.prefetch(0, 2)
    next(batches), next(batches)
    with pytest.raises(errors.UserError, match="shard gone"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    batches.close()
    batches.close()


def test_source_without_one_window(datasets):
    with pytest.raises(errors.UserError, match="one window needs 10000001"):
        make(mixed(datasets), block_size=10_000_000)


def test_a_source_of_barely_one_window(tmp_path):
    of = mixture.build(
        domain=(str(build_dataset(tmp_path / "d", {"x": 110})),),
        general=(),
        domain_weights=(),
        general_weights=(),
        replay_ratio=0,
    )
    length = len(of.components[0].data.stream("train"))
    for block_size in (length - 1, length - 2, length // 2, length // 2 + 1):
        made = make(of, batch_size=1, block_size=block_size)
        for step in range(5):
            assert made.batch(step).tokens.shape == (1, block_size + 1)
