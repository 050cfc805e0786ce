"""Evaluation documents inside other texts: what is found, what is a formula, what stays apart."""

import json
import random
import textwrap
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.similarity import containment, grams, table

SIZE = 13 * grams.WORD_LETTERS
LIMITS = {"formula_texts": 10, "passage_letters": 200}


def words(seed: int, count: int, lengths: range) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.choice(lengths))) for _ in range(count)
    ]


FREQUENT, RARE = words(1, 80, range(2, 5)), words(2, 4000, range(4, 11))


def prose(rng: random.Random, count: int) -> str:
    """So many words in sentences, of 5 letters on average."""
    chosen = [rng.choice(rng.choice((FREQUENT, RARE))) for _ in range(count)]
    for i in range(0, count, 9):
        chosen[i] = chosen[i].capitalize()
        chosen[i - 1] += rng.choice([".", ",", ";", "!"])
    return " ".join(chosen)


def search(evaluation, training, directory, **options) -> containment.Search:
    index = containment.build(evaluation, directory, size=SIZE)
    found = containment.Search(index, directory, **options)
    found.add(training)
    return found


def hyphenated(text: str) -> str:
    return "\n".join(
        line[:-3] + "-\n" + line[-3:] if line[-4:].isalpha() else line
        for line in textwrap.wrap(text, 60)
    )


def quoted(text: str) -> str:
    return "".join(f"> {line}\n" for line in textwrap.wrap(text, 60))


def _every(text: str, nth: int, form: str) -> list[str]:
    words = text.split()
    return [form.format(word) if i % nth == 3 else word for i, word in enumerate(words)]


ALTERED = {
    "unchanged": str,
    "lower": str.lower,
    "upper": str.upper,
    "punctuation": lambda text: text.translate(str.maketrans(".,;!", ":-. ")).replace(" ", "  "),
    "wrapped": lambda text: textwrap.fill(text, 60),
    "quoted": quoted,
    "hyphenated": hyphenated,
    "html": lambda text: "<p>" + "&nbsp;".join(_every(text, 7, "<b class=x>{}</b>")) + "</p>",
    "json": lambda text: json.dumps(textwrap.fill(f"\u00e4 {text}", 60)),
    "linked": lambda text: " ".join(_every(text, 12, "[{}](https://x.org/abc)[12]")),
    "numbered": lambda text: (
        "\n"
        + "\n".join(
            f"{number:4}: {line}" for number, line in enumerate(textwrap.wrap(text, 60), 97)
        )
    ),
    "markup": lambda text: "# " + " ".join(f"**{w}**" if len(w) > 6 else w for w in text.split()),
}


@pytest.mark.parametrize("length", [60, 30])
@pytest.mark.parametrize("name", ALTERED)
def test_altered_and_embedded_paragraphs_are_found(tmp_path, name, length):
    rng = random.Random(length)
    paragraphs = [prose(rng, length) for _ in range(200)]
    training = []
    for one in paragraphs:
        training += [prose(rng, 80) + ALTERED[name](one) + prose(rng, 80), prose(rng, 200)]
    found = search(paragraphs, training, tmp_path).found(**LIMITS)
    assert found.contained.mean() >= (0.99 if length == 60 else 0.95)


def test_a_text_is_counted_once_with_and_without_its_dress(tmp_path):
    rng = random.Random(9)
    paragraphs = [prose(rng, 60) for _ in range(3)]
    training = [prose(rng, 50), f"<p>{paragraphs[1]}</p>", "<p>" + prose(rng, 50), paragraphs[2]]
    found = search(paragraphs, training, tmp_path, keep_hits=True)
    assert found.texts == 4
    assert found.found(**LIMITS).contained.tolist() == [False, True, True]
    assert found.holders(**LIMITS).tolist() == [1, 3]
    # Not a formula: as often as texts hold it, whatever is written around it.
    assert found.found(formula_texts=2, passage_letters=200).contained.tolist()[1:] == [True, True]
    assert found.passage(paragraphs[1], formula_texts=2)[1] == 1


def test_unrelated_text_of_the_same_words_is_not_found(tmp_path):
    rng = random.Random(5)
    formula = prose(rng, 40)  # in a third of all documents
    documents = [
        prose(rng, 200) + (formula if i % 3 == 0 else "") + prose(rng, 100) for i in range(600)
    ]
    evaluation = [documents[i] for i in range(0, 600, 2)]
    found = search(evaluation, documents[1::2], tmp_path).found(**LIMITS)
    assert found.contained.sum() == found.passages.sum() == 0
    assert np.flatnonzero(found.formulae).tolist() == list(range(0, 300, 3))
    alone = search([formula], documents[1::2], tmp_path).found(**LIMITS)
    assert not alone.contained[0] and alone.formulae[0] == alone.total[0] > 0


def test_what_is_shown_and_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(containment, "_BLOCK", 64)
    rng = random.Random(6)
    short, passage, formula = "Twelve words or so: " + prose(rng, 12), prose(rng, 60), prose(rng, 9)
    evaluation = [
        prose(rng, 2000) + "\n\n" + passage + "\n\n" + prose(rng, 2000),
        "",
        short,
        prose(rng, 300),
        f"{short}\n{prose(rng, 300)}",
    ]
    training = [prose(rng, 500) for _ in range(40)]
    training[7] += quoted(passage) + prose(rng, 50)
    training[9] = prose(rng, 90) + short.upper() + prose(rng, 90)
    training[11] += evaluation[3][: len(evaluation[3]) * 2 // 3]
    for i in range(20, 40):
        training[i] += formula
    evaluation[3] += formula
    found = search(evaluation, training, tmp_path, keep_hits=True)
    result = found.found(**LIMITS)
    assert result.contained.tolist() == [False, False, True, True, False]
    assert result.total[1] == 0 and result.total[2] == 1
    assert 5 < result.passages[0] < 30 and result.covered[0] == result.passages[0]
    shown, other = found.passage(evaluation[0], formula_texts=10)
    assert other == 7 and shown in passage and len(shown) > len(passage) * 0.6
    assert found.passage(evaluation[2], formula_texts=10)[1] == 9
    assert found.passage("something else" * 20, formula_texts=10) == ("", -1)
    assert found.holders(**LIMITS).tolist() == [7, 9, 11]
    # Where no formula is allowed for, a formula of less than a passage still holds nobody back.
    assert found.holders(formula_texts=10**6, passage_letters=200).tolist() == [7, 9, 11]


PART = st.sampled_from([prose(random.Random(n), 25) for n in range(6)])
DOCUMENT = st.lists(PART, max_size=5).map(" ".join)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(DOCUMENT, max_size=6), st.lists(DOCUMENT, max_size=6), st.integers(1, 4))
def test_counts_against_sets(tmp_path_factory, evaluation, training, formula):
    """Whole words only: each document's grams as a list, and in how many texts each of them is."""
    directory = tmp_path_factory.mktemp("index")
    found = search(evaluation, training, directory, keep_hits=True)
    result = found.found(formula_texts=formula, passage_letters=200)
    own, theirs = (of_texts(texts) for texts in (evaluation, training))
    for number, hashes in enumerate(own):
        counts = [sum(one in text for text in theirs) for one in hashes]
        assert result.total[number] == len(hashes)
        assert result.found[number] == sum(0 < count < formula for count in counts)
        assert result.formulae[number] == sum(count >= formula for count in counts)
    holders = found.holders(formula_texts=formula, passage_letters=200).tolist()
    halves = [
        number
        for number, text in enumerate(theirs)
        for hashes in own
        if hashes
        and 2 * sum(h in text and sum(h in o for o in theirs) < formula for h in hashes)
        >= len(hashes)
    ]
    assert set(halves) <= set(holders)


def of_texts(texts: list[str]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in texts]
    for batch in grams.sample(texts, size=SIZE):
        for number, one in zip(batch.documents.tolist(), batch.hashes.tolist(), strict=True):
            rows[number].append(one)
    return rows


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_BUFFER_ROWS", 1 << 14)
    rng = random.Random(8)
    long = prose(rng, 100_000)

    def texts(count: int):
        for number in range(count):
            start = rng.randrange(len(long) - 20_000)
            yield f"{number} {long[start : start + 20_000]}"

    peaks = []
    for count in (1, 40, 200):  # the first builds the tables that all of them use
        directory = tmp_path / str(count)
        directory.mkdir()
        tracemalloc.start()
        search(texts(count), texts(count), directory, keep_hits=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2 * peaks[1]
