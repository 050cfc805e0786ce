"""Shingles are those of the words, however a text is cut; many alike are clustered quickly."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.corpus import dedup
from data_pipeline.prepare import near_duplicates
from data_pipeline.similarity import minhash

_WORD = st.text(alphabet="abAB.,'ßé中\u00a0", min_size=1, max_size=4)
_SPACE = st.sampled_from([" ", "\n", "\t ", "\r\n", "\f", "\v"])


def by_hand(text: str) -> set[tuple[str, ...]]:
    kept = "".join(one for one in text.lower() if one not in string.punctuation)
    words = kept.encode().split()
    width = min(minhash.SHINGLE_WORDS, len(words))
    return set(zip(*(words[start:] for start in range(width)), strict=False))


@pytest.mark.parametrize("block", [1, 7, 1 << 15])
@given(parts=st.lists(st.tuples(_WORD, _SPACE), max_size=40), other=st.lists(_WORD, max_size=9))
@settings(max_examples=40, deadline=None)
def test_shingles_are_those_of_the_words(block, parts, other):
    text = "".join(word + space for word, space in parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "_BLOCK_BYTES", block)
        found = minhash.shingles(text)
    assert len(found) == len(by_hand(text))
    assert (found[1:] > found[:-1]).all()
    another = " ".join(other)
    common = set(found.tolist()) & set(minhash.shingles(another).tolist())
    assert len(common) == len(by_hand(text) & by_hand(another))


def test_a_word_longer_than_a_block_is_one_word():
    word = "x" * 200_000
    assert len(minhash.shingles(f"{word} {word}y a b c d")) == 2


def test_many_near_duplicates_are_one_cluster_in_nearly_linear_time(monkeypatch):
    rng = random.Random(0)
    words = [f"word{rng.randrange(10_000)}" for _ in range(150)]
    documents = [
        document.Document(id=f"{n}", text=" ".join([*words, f"ends{n}"]), source="s")
        for n in range(600)
    ]
    finds, find = [], dedup.Clusters.find
    monkeypatch.setattr(dedup.Clusters, "find", lambda self, n: finds.append(n) or find(self, n))
    found = near_duplicates.with_split_keys(documents)
    assert {one.split_key for one in found} == {"s/0"}
    # Two for a comparison, with some documents of each of its bands.
    assert len(finds) < len(documents) * 2 * (minhash.KEYS * dedup.MAX_BUCKET + 3)
