"""Winnowed letter n-grams: against a plain search, and the guarantee that they give."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.similarity import grams, letters

SIZE = 12
SPAN = SIZE + grams.WINDOW - 1
# Few letters, so that equal grams and equal hashes in a window occur.
TEXT = st.text("ab ,", max_size=40).flatmap(
    lambda part: st.integers(0, 12).map(lambda times: part * times)
)


def taken(texts: list[str]) -> list[tuple]:
    """(text, hash, start, stop, short) of every gram, in order."""
    return [
        row
        for one in grams.sample(texts, size=SIZE)
        for row in zip(
            *(c.tolist() for c in (one.documents, one.hashes, one.starts, one.stops, one.short)),
            strict=True,
        )
    ]


def plainly(texts: list[str]) -> list[tuple]:
    rows = []
    for number, text in enumerate(texts):
        found, places = letters.of(text)
        hashes = [own_hash(found[i : i + SIZE]) for i in range(len(found) - SIZE + 1)]
        short = len(found) < SPAN
        chosen = set(range(len(hashes)) if short else ())
        for start in range(len(hashes) - grams.WINDOW + 1):
            window = [one >> 32 for one in hashes[start : start + grams.WINDOW]]
            chosen |= {start + i for i, one in enumerate(window) if one == min(window)}
        rows += [
            (number, hashes[i], int(places[i]), int(places[i + SIZE - 1]) + 1, short)
            for i in sorted(chosen)
        ]
    return rows


def own_hash(found: np.ndarray) -> int:
    (one,) = grams.sample(["".join(map(chr, found.tolist()))], size=SIZE)
    return int(one.hashes[0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(TEXT, max_size=6))
def test_the_smallest_of_each_window_is_taken(texts):
    assert taken(texts) == plainly(texts)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("abcdefgh", min_size=SPAN, max_size=200), st.data())
def test_a_shared_passage_shares_a_gram(passage, data):
    around = [data.draw(st.text("abcdefgh ", max_size=300)) for _ in range(4)]
    left, right = around[0] + passage + around[1], around[2] + passage + around[3]
    rows = taken([left, right])
    assert {row[1] for row in rows if row[0] == 0} & {row[1] for row in rows if row[0] == 1}


def test_long_texts_are_cut_with_an_overlap(monkeypatch):
    rng = random.Random(1)
    long = "".join(rng.choice("abcdefgh \n") for _ in range(300_000))
    texts = [long[:1000], long, "", long[:90_000]]
    wanted = taken(texts)
    # About one gram in half a window is taken: the pieces and blocks were several.
    assert 1.8 < grams.WINDOW * len(wanted) / sum(len(letters.of(t)[0]) for t in texts) < 2.2
    monkeypatch.setattr(grams, "_PIECE_CHARS", 10_000)
    assert set(taken(texts)) == set(wanted)


def test_texts_without_spaces():
    rng = random.Random(2)
    # A sentence of 40 ideographs inside others, and once with spaces and line ends.
    sentence = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(40))
    other = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(500))
    rows = taken([sentence, other[:100] + "\n".join(sentence) + other[100:], other])
    own, quoting, alone = ({row[1] for row in rows if row[0] == n} for n in range(3))
    assert own <= quoting and not own & alone


@pytest.mark.parametrize("longest", [20, 80, 300])
def test_a_second_form_gives_what_is_new_in_it(longest):
    rng = random.Random(longest)

    def part() -> str:
        return "".join(rng.choices("abcdefgh ", k=rng.randrange(longest)))

    def second(text: str) -> str:
        return text.replace("#x", " " + grams.JOINT)

    def hashes(number: int, *batches) -> set[int]:
        return {
            one for batch in batches for one in batch.hashes[batch.documents == number].tolist()
        }

    texts = ["#x".join(part() for _ in range(rng.randrange(200))) for _ in range(6)]
    found = list(grams.sample(texts, size=SIZE, again=second))
    whole = [*grams.sample(texts, size=SIZE), *grams.sample(map(second, texts), size=SIZE)]
    assert all(hashes(n, *found) == hashes(n, *whole) for n in range(len(texts)))


def test_of_a_second_form_only_what_is_near_a_joint_is_looked_at(monkeypatch):
    rng = random.Random(3)
    text = "".join(rng.choice("abcdefgh ") for _ in range(30_000))
    text = text[:9000] + "#x" + text[9000:]
    first, both = (
        sum(len(one.hashes) for one in grams.sample([text], size=SIZE, again=again))
        for again in (None, lambda text: text.replace("#x", grams.JOINT))
    )
    assert first < both < first + 2 * SPAN
    monkeypatch.setattr(grams, "_PIECE_CHARS", 10_000)
    pieces = grams.sample([text], size=SIZE, again=lambda text: text.replace("#x", grams.JOINT))
    whole = grams.sample([text.replace("#x", "")], size=SIZE)
    wanted = {one for batch in whole for one in batch.hashes.tolist()}
    assert wanted <= {one for batch in pieces for one in batch.hashes.tolist()}
