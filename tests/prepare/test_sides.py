"""An append: near-duplicates of what is there come on its side, or nowhere."""

import random

from test_prepare import add, build, decoded, doc

from data_pipeline.prepare import build_report, near_duplicates
from data_pipeline.similarity import minhash

WORDS = [f"{a}{b}" for a in "law tax act code rule term".split() for b in range(200)]


def text(seed, *, changed=0):
    """150 words; some of them changed by another seed."""
    words = random.Random(seed).choices(WORDS, k=150)
    rng = random.Random(f"{seed}/{changed}")
    for place in rng.sample(range(150), changed):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


def sides(dataset):
    return {
        split: [one for name in dataset.sources for one in decoded(dataset, name, split)]
        for split in ("train", "val")
    }


def resembling(some, others):
    sets = [minhash.shingles(one) for one in others]
    return [
        one
        for one in some
        if any(minhash.jaccard(minhash.shingles(one), other) >= 0.5 for other in sets)
    ]


def test_a_new_text_is_on_the_side_of_what_it_resembles(tmp_path):
    old = [doc(text(number), number=number) for number in range(160)]
    before = sides(build(tmp_path / "d", old, val_fraction=0.3)[0])
    assert len(before["val"]) > 20
    news = [doc(text(number, changed=1), source="n", number=number) for number in range(160)]
    news += [doc(text(1000 + number), source="n", number=f"x{number}") for number in range(100)]
    dataset, reports = add(tmp_path / "d", news, val_fraction=0.3)
    after = sides(dataset)
    assert resembling(after["train"], after["val"]) == []
    assert len(resembling(after["val"], before["val"])) == 2 * len(before["val"])
    assert {len(after["train"]) + len(after["val"])} == {160 + 260}
    (report,) = reports
    assert report.moved > 40 and report.torn == 0


def test_what_resembles_both_sides_is_left_out(tmp_path):
    pairs = [(text(number, changed=1), text(number, changed=2)) for number in range(30)]
    old = [doc(one, number=f"{n}/{side}") for n, pair in enumerate(pairs) for side, one in
           enumerate(pair)]  # fmt: skip
    old += [doc(text(100 + number), number=number) for number in range(100)]
    before = sides(build(tmp_path / "d", old, val_fraction=0.3)[0])
    torn = [n for n, pair in enumerate(pairs) if len({one in before["val"] for one in pair}) == 2]
    assert torn
    news = [doc(text(number), source="n", number=number) for number in range(30)]
    news += [doc(text(1000 + n), source="n", number=f"x{n}") for n in range(100)]
    dataset, (report,) = add(tmp_path / "d", news, val_fraction=0.3)
    every = sides(dataset)
    left_out = [n for n in range(30) if text(n) not in every["train"] + every["val"]]
    assert left_out == torn and report.torn == len(torn)
    assert "near-duplicates of theirs are in train" in build_report.describe([report])[0]


def test_without_the_packages_an_append_is_as_it_was(tmp_path, monkeypatch):
    old = [doc(text(number), number=number) for number in range(160)]
    build(tmp_path / "d", old)
    monkeypatch.setattr(near_duplicates, "_MISSING", ImportError(name="xxhash"))
    _, (report,) = add(tmp_path / "d", [doc(text(1, changed=1), source="n")])
    assert report.moved == 0
