import random

import numpy as np
import pytest

from data_pipeline.corpus import dedup, files
from data_pipeline.similarity import minhash

WORDS = [f"w{number}" for number in range(4000)]


def _text(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def _changed(rng, text, share):
    return " ".join(rng.choice(WORDS) if rng.random() < share else word for word in text.split())


def _index(tmp_path, parts):
    """parts: list of (priority, jaccard, protected, {id: text}) -> an Index over files."""
    groups = []
    for number, (priority, threshold, protected, texts) in enumerate(parts):
        key = f"part-{number}"
        sets = [minhash.shingles(text) for text in texts.values()]
        base = tmp_path / "read"
        files.write_json(base / f"{key}.ids.json", list(texts))
        exact = [(abs(hash(" ".join(t.split()))) % (1 << 60) + 1, 7) for t in texts.values()]
        files.write_array(base / f"{key}.exact.npy", np.array(exact, np.uint64).reshape(-1, 2))
        bands = np.array([minhash.band_keys(each) for each in sets]).reshape(-1, minhash.KEYS).T
        files.write_array(base / f"{key}.bands.npy", np.ascontiguousarray(bands))
        lengths = np.array([len(text) for text in texts.values()], np.int64)
        files.write_array(base / f"{key}.chars.npy", lengths)
        files.write_array(base / f"{key}.ends.npy", np.cumsum([0, *map(len, sets)]))
        joined = np.concatenate([*sets, np.zeros(0, np.uint32)])
        files.write_array(base / f"{key}.sets.npy", joined)
        groups.append(dedup.Group(key, priority, threshold, protected))
    return dedup.Index(groups, tmp_path / "read")


def _decided(index, **options):
    result = dedup.decide(index, **options)
    kept = {result.ids[k] for k in result.dropped.values()}
    return {result.ids[n]: result.ids[k] for n, k in result.dropped.items()}, kept, result


def test_band_keys_agree_with_the_definition_of_minhash():
    rng = random.Random(1)
    left = _text(rng, 400)
    right = _changed(rng, left, 0.02)
    sets = [minhash.shingles(text) for text in (left, right)]
    true = len(set(sets[0].tolist()) & set(sets[1].tolist())) / len(
        set(sets[0].tolist()) | set(sets[1].tolist())
    )
    assert minhash.jaccard(*sets) == pytest.approx(true, abs=1e-12)
    words = left.split()
    assert len(sets[0]) == len({tuple(words[i : i + 5]) for i in range(len(words) - 4)})


def test_recall_and_precision_of_dropped_pairs(tmp_path):
    rng = random.Random(7)
    originals = {f"o{n}": _text(rng, 150 + n % 300) for n in range(150)}
    for share, wanted in ((0.01, 0.98), (0.03, 0.80)):
        copies = {f"c{k[1:]}": _changed(rng, t, share) for k, t in originals.items()}
        index = _index(tmp_path / str(share), [(0, 0.6, False, originals), (1, 0.6, False, copies)])
        dropped, _, result = _decided(index)
        assert len(dropped) / len(originals) >= wanted
        assert all(k[0] == "c" and v == "o" + k[1:] for k, v in dropped.items())
        low = sum(value < 0.5 for value in result.similarity.values())
        assert low <= 0.05 * len(dropped)


def test_same_decisions_as_datasketch(tmp_path):
    datasketch = pytest.importorskip("datasketch")
    rng = random.Random(3)
    texts = {f"d{n}": _text(rng, 200) for n in range(60)}
    texts |= {f"e{n}": _changed(rng, texts[f"d{n}"], 0.01) for n in range(60)}
    ours, _, _ = _decided(_index(tmp_path, [(0, 0.6, False, texts)]))
    lsh = datasketch.MinHashLSH(params=(minhash.BANDS, minhash.ROWS), num_perm=112)
    pairs = set()
    for key, text in texts.items():
        signature = datasketch.MinHash(num_perm=112)
        words = text.split()
        signature.update_batch([" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)])
        pairs |= {frozenset((key, other)) for other in lsh.query(signature)}
        lsh.insert(key, signature)
    found = {frozenset(pair) for pair in ours.items()}
    # Whatever the other implementation finds, ours finds; what it adds are true copies.
    assert pairs <= found
    assert found <= {frozenset((f"d{n}", f"e{n}")) for n in range(60)}


def test_kept_is_by_priority_then_length_then_id_whatever_the_order(tmp_path):
    rng = random.Random(5)
    base = _text(rng, 300)
    a, b = {"z/long": base + " tail"}, {"m/short": base, "b/same": base + " tail"}
    other = {"n/alone": _text(rng, 300)}
    results = []
    for number, parts in enumerate(
        [
            [(0, 0.7, False, a | other), (1, 0.7, False, b)],
            [
                (1, 0.7, False, dict(reversed(b.items()))),
                (0, 0.7, False, other),
                (0, 0.7, False, a),
            ],
        ]
    ):
        dropped, _, result = _decided(_index(tmp_path / str(number), parts))
        results.append((dropped, {result.ids[n]: key for n, key in result.split_keys.items()}))
    assert results[0] == results[1]
    assert results[0][0] == {"m/short": "z/long", "b/same": "z/long"}
    assert set(results[0][1].values()) == {"b/same"}


def test_memory_limit_changes_nothing(tmp_path):
    rng = random.Random(9)
    texts = {f"d{n}": _text(rng, 80) for n in range(40)}
    texts |= {f"e{n}": _changed(rng, texts[f"d{n}"], 0.01) for n in range(40)}
    index = _index(tmp_path, [(0, 0.7, False, texts)])
    assert _decided(index, max_rows=7)[:2] == _decided(index)[:2]


def test_a_crowd_of_equal_documents_leaves_one(tmp_path):
    texts = {f"d{n:03d}": "the very same short text again" for n in range(300)}
    texts |= {f"x{n:03d}": f"another short text with number {n}" for n in range(5)}
    dropped, kept, _ = _decided(_index(tmp_path, [(0, 0.7, False, texts)]))
    assert kept == {"d000"} and len(dropped) == 299


def test_thresholds_are_those_of_the_stricter_source(tmp_path):
    rng = random.Random(11)
    base = _text(rng, 400)
    near = _changed(rng, base, 0.03)
    for threshold, count in ((0.6, 1), (0.95, 0)):
        index = _index(
            tmp_path / str(threshold),
            [(0, 0.6, False, {"a": base}), (1, threshold, False, {"b": near})],
        )
        dropped, _, result = _decided(index)
        assert len(dropped) == count
        # Similar documents stay on one side of a split, whether or not one is dropped.
        assert set(result.split_keys.values()) == {"a"}


def test_evaluation_documents_win_and_are_not_written(tmp_path):
    text = " ".join(WORDS[:200])
    index = _index(
        tmp_path, [(0, 0.7, False, {"mine": text + " more"}), (-1, 0.7, True, {"eval": text})]
    )
    result = dedup.decide(index)
    dedup.write(index, result, tmp_path / "dedup")
    assert not files.read_array(tmp_path / "dedup" / "part-0.keep.npy").any()
    assert not files.read_array(tmp_path / "dedup" / "part-1.keep.npy").any()


def test_texts_without_words_are_no_duplicates_of_each_other(tmp_path):
    dropped, _, _ = _decided(_index(tmp_path, [(0, 0.7, False, {"a": "+-+", "b": "|=|"})]))
    assert not dropped
