"""Documents of a dataset as texts again, whatever stores it."""

import numpy as np
import pytest
from conftest import build_dataset, documents

from data_pipeline.tokens import mypt_format, shards, texts, tokenizer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts") / "data"
    build_dataset(root, {"a": 130, "b": 20}, vocabulary="gpt2")
    return shards.open_dataset(root)


def of_split(dataset, source: str, split: str) -> texts.Texts:
    return texts.Texts(dataset.sources[source], split, tokenizer.get(dataset.tokenizer))


def test_documents_come_back(dataset):
    written = {item.text for item in documents("a", 130, 0)}
    found = [of_split(dataset, "a", split) for split in shards.SPLITS]
    assert {text for every in found for text in every} == written
    train = found[0]
    assert len(train) == dataset.sources["a"].documents["train"] and train[3] == list(train)[3]
    assert np.array_equal(train.distinct(), np.arange(len(train)))
    assert train.tokens(np.arange(len(train))).sum() == dataset.sources["a"].tokens["train"]


def test_the_originals_directories_have_documents_between_their_ends_of_text(dataset, tmp_path):
    mypt_format.write(
        tmp_path / "mypt",
        vocabulary=tokenizer.get(dataset.tokenizer),
        splits={s: [one.stream(s) for one in dataset.sources.values()] for s in shards.SPLITS},
        tokens_per_shard=7000,
        val_fraction=0.2,
        sources={},
        targets={},
    )
    opened = shards.open_dataset(tmp_path / "mypt")
    for split in shards.SPLITS:
        wanted = [text for name in dataset.sources for text in of_split(dataset, name, split)]
        assert list(of_split(opened, "mypt", split)) == wanted
    # A control tag that the original appended to the vocabulary, and no end-of-text at the end.
    (last,) = sorted((tmp_path / "mypt" / "val").glob("*.bin"))[-1:]
    tokens = np.fromfile(last, np.uint32)
    tokens[-1] = 50260
    tokens.tofile(last)
    assert list(of_split(opened, "mypt", "val"))[-1] == wanted[-1]


def test_repeated_documents_count_once(tmp_path):
    from data_pipeline.prepare import budget, build

    settings = budget.Settings(
        seed=0,
        val_fraction=0.2,
        tokens_per_shard=20_000,
        total_tokens=600_000,
        repeat=True,
        max_repeat=99,
    )
    build.build_dataset(
        documents("a", 110, 0),
        out_dir=tmp_path / "data",
        vocabulary=tokenizer.get("gpt2"),
        settings=settings,
        recorded={},
    )
    train = of_split(shards.open_dataset(tmp_path / "data"), "a", "train")
    distinct = [train[number] for number in train.distinct().tolist()]
    # The last of all may be shortened, to fill what was asked for.
    assert len(train) > 2 * len(distinct) and len(distinct) == len(set(distinct))
    assert len(set(train) - set(distinct)) <= 1
