"""Near-duplicates by bands on disk, against every pair."""

import random

from data_pipeline.similarity import minhash, resemblance


def changed(rng: random.Random, words: list[str], share: float) -> str:
    return " ".join(rng.choice("xyz") + word if rng.random() < share else word for word in words)


def test_near_duplicates_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(resemblance, "_CACHED_SETS", 3)
    monkeypatch.setattr(resemblance, "_BATCH_TEXTS", 7)
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(2000)]
    originals = [rng.choices(vocabulary, k=300) for _ in range(30)]
    documents = ["", *(" ".join(words) for words in originals), *(" ".join(originals[3]),)]
    texts = [" ".join(rng.choices(vocabulary, k=300)) for _ in range(20)]
    texts += [changed(rng, words, share) for words in originals for share in (0.3, 0.01)]
    index = resemblance.Index(documents, tmp_path, again=documents.__getitem__)
    found = index.near_duplicates(texts, min_jaccard=0.8)
    for pair in found:
        assert pair.jaccard == similarity(documents[pair.document], texts[pair.text]) >= 0.8
    copies = {number: 19 + 2 * number for number in range(1, 31)} | {31: 27}
    # 1 % of changed words leaves a similarity of about 0.9.
    wanted = {
        (number, copies[number])
        for number in range(1, 32)
        if similarity(documents[number], texts[copies[number]]) > 0.85
    }
    assert len(wanted) > 20 and wanted <= {(pair.document, pair.text) for pair in found}
    assert {pair.text % 2 for pair in found} == {1}
    assert index.near_duplicates([], min_jaccard=0.8) == []


def similarity(left: str, right: str) -> float:
    return minhash.jaccard(minhash.shingles(left), minhash.shingles(right))
