"""Hashes sorted on disk, against numpy in memory."""

import numpy as np
import pytest

from data_pipeline.similarity import table


@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_lookups(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(table, "_BUFFER_ROWS", 700)
    rng = np.random.default_rng(rows)
    # Each hash about twice, over the whole range.
    hashes = rng.integers(0, rows // 2 + 1, rows, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    builder = table.Builder(tmp_path)
    for start in range(0, rows, 300):
        builder.add(hashes[start : start + 300], np.arange(start, min(rows, start + 300)))
    built = builder.close()
    order = np.argsort(hashes, kind="stable")
    assert np.array_equal(built.hashes, hashes[order]) and np.array_equal(built.numbers, order)
    asked = np.concatenate([hashes[::3], np.uint64([0, 1, 2**64 - 1])])
    hit, first = built.first_rows(asked)
    assert np.array_equal(hit, np.isin(asked, hashes))
    assert np.array_equal(first, np.searchsorted(hashes[order], asked[hit]))
    numbers, owners = built.numbers_at(first)
    assert numbers.tolist() == [n for one in asked[hit] for n in np.flatnonzero(hashes == one)]
    assert np.array_equal(hashes[numbers], asked[hit][owners])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hashes", "numbers"]
