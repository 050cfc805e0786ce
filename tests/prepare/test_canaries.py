"""Planted texts: a source of their own, the same for one seed, on both sides, read by evaluate."""

import pytest

from data_pipeline import errors
from data_pipeline.commands import canaries, prepare
from data_pipeline.tokens import shards


def run(out_dir, text, *more):
    line = ["--source", f"own:{text}", "--out_dir", str(out_dir), "--tokenizer=gpt2-4096"]
    return prepare.main([*line, "--workers=1", "--val_fraction=0.3", *more])


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(f'{{"text": "a text of number {n}"}}\n' for n in range(30)))
    return path


def test_canaries_are_a_source_on_both_sides(text, tmp_path, capsys):
    assert run(tmp_path / "a", text, "--canaries=40") == run(tmp_path / "b", text) == 0
    planted, plain = (shards.open_dataset(tmp_path / name) for name in "ab")
    assert set(planted.sources) == {"own", canaries.SOURCE} and set(plain.sources) == {"own"}
    found = planted.sources[canaries.SOURCE]
    assert sum(found.documents.values()) == 40 and min(found.documents.values()) > 0
    assert min(found.stream("train").doc_ends[0], found.stream("val").doc_ends[0]) > 100
    assert planted.settings[0]["canaries"] == 40 and "canaries" not in plain.settings[0]
    first, again = (next(canaries.documents(1, seed=seed)).text for seed in (0, 0))
    assert first == again != next(canaries.documents(1, seed=1)).text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--canaries=-1"], "wanted 0 or more"),
        (["--canaries=1", "--total_tokens=9"], "are taken whole"),
    ],
)
def test_what_cannot_be_planted_is_refused(text, tmp_path, more, message):
    with pytest.raises(errors.UserError, match=message):
        run(tmp_path / "a", text, *more)
    assert not (tmp_path / "a").exists()
