"""From texts to datasets: exact targets, honest splits, the same bytes however it was made."""

import dataclasses
import errno
import json
import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, documents

from data_pipeline import atomic, document, errors, hashing
from data_pipeline.batches import mixture
from data_pipeline.prepare import append, budget, build_report
from data_pipeline.prepare import build as prepare
from data_pipeline.readers import pieces
from data_pipeline.tokens import shards, tokenizer, verification

SMALL = "gpt2-4096"


def settings(**changes):
    values = {
        "seed": 3,
        "val_fraction": 0.1,
        "tokens_per_shard": 5000,
        "max_repeat": 100,
    }
    return budget.Settings(**(values | changes))


def build(out_dir, texts, **changes):
    extra = {name: changes.pop(name) for name in ("excluded", "groups") if name in changes}
    reports = prepare.build_dataset(
        texts,
        out_dir=out_dir,
        vocabulary=tokenizer.get(SMALL),
        settings=settings(**changes),
        recorded={},
        **extra,
    )
    dataset = shards.open_dataset(out_dir)
    verification.verify(dataset)
    return dataset, {one.name: one for one in reports}


def tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def decoded(dataset, name, split):
    """The documents of a split as text."""
    stream, vocabulary = dataset.sources[name].stream(split), tokenizer.get(SMALL)
    starts = [0, *stream.doc_ends.tolist()]
    return [vocabulary.decode(stream[a : b - 1]) for a, b in zip(starts, starts[1:], strict=False)]


def doc(text, *, source="s", number=0, **fields):
    return document.Document(id=f"{source}/{number}", text=text, source=source, **fields)


def test_every_document_comes_back_byte_for_byte(tmp_path):
    texts = list(documents("s", 150, 0))
    texts[7] = doc("\tif x:\n        return  'Grün' <|endoftext|>\n\n\n", number="odd")
    dataset, _ = build(tmp_path / "d", texts)
    found = decoded(dataset, "s", "train") + decoded(dataset, "s", "val")
    assert sorted(found) == sorted(text.text for text in texts)
    train = decoded(dataset, "s", "train")
    order = [text.text for text in texts if text.text in set(train)]
    assert train != order, "documents are shuffled"


def test_neither_order_nor_workers_change_a_byte(tmp_path):
    texts = list(documents("a", 130, 0)) + list(documents("b", 20, 0))
    build(tmp_path / "one", texts)
    random.Random(1).shuffle(texts)
    # Documents of a cut source keep their own pieces; only whole documents change places.
    build(tmp_path / "two", texts, workers=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    build(tmp_path / "three", texts, seed=4)
    assert tree(tmp_path / "one") != tree(tmp_path / "three")


@pytest.mark.parametrize("kind", ["prepare", "append"])
def test_killed_at_any_file_operation_and_run_again_gives_the_same_bytes(tmp_path, kind):
    program = [
        sys.executable,
        str(ROOT / "tests" / "prepare" / "killed_builds.py"),
        kind,
        str(tmp_path),
        "12",
    ]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    # Readers see the old state or the new one, and both were met.
    assert found["before"] > 10 and found["after"] > 0


def test_totals_and_weights_are_exact(tmp_path):
    texts = list(documents("a", 200, 0)) + list(documents("b", 200, 0))
    dataset, reports = build(
        tmp_path / "d",
        texts,
        total_tokens=20_001,
        weights={"a": Fraction("0.7"), "b": Fraction("0.3")},
    )
    tokens = {name: sum(source.tokens.values()) for name, source in dataset.sources.items()}
    assert tokens == {"a": 14_001, "b": 6_000}
    assert all(source.tokens["val"] > 0 for source in dataset.sources.values())


def test_one_source_has_a_ceiling_several_have_weights(tmp_path):
    dataset, _ = build(tmp_path / "one", documents("a", 120, 0), total_tokens=10**9)
    have = sum(dataset.sources["a"].tokens.values())
    texts = list(documents("a", 120, 0)) + list(documents("b", 200, 0))
    weights = {"a": Fraction(1), "b": Fraction(1)}
    with pytest.raises(errors.UserError, match=f"{10} are missing.*--repeat.*--total_tokens"):
        build(tmp_path / "two", texts, total_tokens=2 * (have + 10), weights=weights)
    assert not (tmp_path / "two").exists()
    dataset, reports = build(
        tmp_path / "two", texts, total_tokens=2 * (have + 10), weights=weights, allow_short=True
    )
    assert sum(dataset.sources["a"].tokens.values()) == have
    dataset, reports = build(
        tmp_path / "three", texts, total_tokens=2 * (have + 10), weights=weights, repeat=True
    )
    assert sum(dataset.sources["a"].tokens.values()) == have + 10
    assert reports["a"].passes == 2
    # Val is never repeated.
    val = decoded(dataset, "a", "val")
    assert len(val) == len(set(val))
    assert not set(val) & set(decoded(dataset, "a", "train"))
    with pytest.raises(errors.UserError, match="even after 2 passes"):
        build(
            tmp_path / "four",
            texts,
            total_tokens=6 * have,
            weights=weights,
            repeat=True,
            max_repeat=2,
        )


def test_groups_share_a_weight_by_what_they_have(tmp_path):
    texts = [*documents("a", 100, 0), *documents("b", 200, 0), *documents("c", 150, 0)]
    dataset, reports = build(
        tmp_path / "d",
        texts,
        total_tokens=12_000,
        weights={"ab": Fraction(2), "c": Fraction(1)},
        groups={"a": "ab", "b": "ab", "c": "c"},
    )
    tokens = {name: sum(source.tokens.values()) for name, source in dataset.sources.items()}
    assert tokens["c"] == 4000 and tokens["a"] + tokens["b"] == 8000
    have = {name: reports[name].available_tokens for name in "ab"}
    assert tokens["a"] == pytest.approx(8000 * have["a"] / (have["a"] + have["b"]), abs=1)


def test_a_cluster_is_never_divided(tmp_path):
    texts = [
        dataclasses.replace(text, split_key=f"cluster{number % 40}")
        for number, text in enumerate(documents("s", 200, 0))
    ]
    dataset, _ = build(tmp_path / "d", texts, val_fraction=0.3)
    key = {text.text: text.split_key for text in texts}
    train = {key[text] for text in decoded(dataset, "s", "train")}
    val = {key[text] for text in decoded(dataset, "s", "val")}
    assert train and val and not train & val
    assert len(train | val) == 40


def test_a_text_is_on_the_same_side_in_every_dataset(tmp_path):
    small, _ = build(tmp_path / "a", documents("s", 150, 0))
    large, _ = build(tmp_path / "b", [*documents("t", 150, 1), *documents("s", 150, 0)], seed=9)
    assert sorted(decoded(small, "s", "val")) == sorted(decoded(large, "s", "val"))


def test_equal_texts_count_once_and_never_stand_on_both_sides(tmp_path):
    texts = list(documents("a", 150, 0))
    again = [dataclasses.replace(text, id=f"again-{text.id}") for text in texts]
    dataset, reports = build(tmp_path / "d", texts + again)
    assert reports["a"].duplicates == 150
    assert sum(dataset.sources["a"].documents.values()) == 150
    # The same text in a second source, with a split key that sends it to the other side.
    moved = [
        dataclasses.replace(text, source="b", split_key=f"x{number}")
        for number, text in enumerate(texts)
    ]
    dataset, reports = build(tmp_path / "e", texts + moved, val_fraction=0.3)
    val = {text for name in "ab" for text in decoded(dataset, name, "val")}
    train = {text for name in "ab" for text in decoded(dataset, name, "train")}
    assert not val & train
    assert reports["a"].in_other_val + reports["b"].in_other_val > 0
    # What both sources train on is said once, of the second.
    train = [dataset.sources[name].stream("train").doc_hashes for name in "ab"]
    shared = len(np.intersect1d(*train))
    assert (reports["a"].shared, reports["b"].shared) == (0, shared) and shared
    assert f"{shared} that an earlier source trains on as well" in " ".join(
        build_report.describe(list(reports.values()))
    )


def test_one_book_gives_both_splits(tmp_path):
    paragraphs = [line for text in documents("s", 400, 0) for line in text.text.splitlines()]
    book = "\n\n".join(paragraphs)
    dataset, reports = build(tmp_path / "d", [doc(book)])
    assert reports["s"].cut
    source = dataset.sources["s"]
    assert 0.05 < source.tokens["val"] / sum(source.tokens.values()) < 0.2
    sizes = np.diff(source.stream("train").doc_ends.astype(np.int64))
    assert 800 < np.median(sizes) < 2600
    # No line is lost, and val holds whole runs of neighbours.
    found = decoded(dataset, "s", "train") + decoded(dataset, "s", "val")
    lines = sorted(line for text in found for line in text.split("\n") if line)
    assert lines == sorted(paragraphs)
    val = {p for piece in decoded(dataset, "s", "val") for p in piece.split("\n\n")}
    places = [number for number, p in enumerate(paragraphs) if p in val]
    assert sum(b - a == 1 for a, b in zip(places, places[1:], strict=False)) > len(places) / 2


def test_a_text_is_cut_alike_wherever_its_file_stands(tmp_path):
    book = "\n\n".join(text.text for text in documents("s", 300, 0))
    build(tmp_path / "a", [doc(book, number="here/book.txt")])
    build(tmp_path / "b", [doc(book, number="/there/book.txt")])
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_source_of_one_short_text_cannot_be_split(tmp_path):
    with pytest.raises(errors.UserError, match="--val_fraction=0"):
        build(tmp_path / "d", [doc("just one line")])
    dataset, _ = build(tmp_path / "d", [doc("just one line")], val_fraction=0.0)
    assert dataset.sources["s"].documents == {"train": 1, "val": 0}


def test_a_source_that_is_too_short_for_val_goes_to_train(tmp_path):
    texts = [*documents("s", 120, 0), doc("just one line", source="blog")]
    dataset, reports = build(tmp_path / "d", texts)
    assert reports["blog"].is_short and not reports["s"].is_short
    assert dataset.sources["blog"].documents == {"train": 1, "val": 0}
    assert decoded(dataset, "blog", "train") == ["just one line"]
    said = [line for line in build_report.describe(list(reports.values())) if "blog" in line]
    assert "too short for a val split: all of it is train" in said[0]
    dataset, _ = add(tmp_path / "d", [doc("more", source="news")])
    assert dataset.sources["news"].documents == {"train": 1, "val": 0}


def test_empty_documents_are_counted_not_kept(tmp_path):
    texts = [*documents("s", 120, 0), doc("", number="e"), doc(" \n\t\n", number="f")]
    dataset, reports = build(tmp_path / "d", texts)
    assert reports["s"].empty == 2 and sum(dataset.sources["s"].documents.values()) == 120
    with pytest.raises(errors.UserError, match="every document is empty"):
        build(tmp_path / "e", [doc("")])


def test_a_million_characters_without_a_space(tmp_path):
    texts = [*documents("s", 120, 0), doc("x" * 2_500_000, number="long")]
    dataset, reports = build(tmp_path / "d", texts)
    assert reports["s"].long == 1
    every = decoded(dataset, "s", "train") + decoded(dataset, "s", "val")
    assert sum(len(text) for text in every if set(text) == {"x"}) == 2_000_000 - 1_000_000 + 500_000


def test_many_tiny_documents(tmp_path):
    texts = (doc(f"{number} x", number=number) for number in range(5_000))
    dataset, _ = build(tmp_path / "d", texts, workers=2)
    assert sum(dataset.sources["s"].documents.values()) == 5_000


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EFBIG, errno.EACCES])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, error):
    def full(file):
        raise OSError(error, os.strerror(error), "somewhere")

    monkeypatch.setattr(atomic, "sync", full)
    with pytest.raises(errors.UserError, match="cannot use somewhere: .*: "):
        build(tmp_path / "d", documents("s", 150, 0))
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine.txt").write_text("x")
    with pytest.raises(errors.UserError, match="not empty"):
        build(tmp_path / "d", documents("s", 150, 0))
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.UserError, match="is a file"):
        build(tmp_path / "file", documents("s", 150, 0))
    with pytest.raises(errors.UserError, match="a part of the path is a file"):
        build(tmp_path / "file" / "deeper", documents("s", 150, 0))
    assert tree(tmp_path) == {"d/mine.txt": b"x", "file": b"x"}


def test_a_mount_point_gets_the_dataset_inside(tmp_path, monkeypatch):
    """Nothing can take its place."""
    mount, real, moves = tmp_path / "mount", os.rename, []
    (mount / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == mount)

    def rename(source, target):
        assert Path(target) != mount
        real(source, target)
        moves.append(Path(target).name)
        if len(moves) == 1:
            raise OSError(errno.ENOSPC, "full", str(target))

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(errors.UserError, match="the disk is full"):
        build(mount, documents("s", 150, 0))
    assert moves == ["s"] and [path.name for path in mount.iterdir()] == ["lost+found"]
    # What a kill leaves: some entries, and the list of all in what was staged.
    (mount / "s").mkdir()
    (mount / f".mount{atomic.PARTIAL}").mkdir()
    (mount / f".mount{atomic.PARTIAL}" / ".moving").write_text('["s", "manifest.json"]')
    build(mount, documents("s", 150, 0))
    build(tmp_path / "other", documents("s", 150, 0))
    assert moves[1:] == ["s", "manifest.json", "other"]
    assert tree(mount) == tree(tmp_path / "other")
    with pytest.raises(errors.UserError, match="not empty"):
        build(mount, documents("s", 150, 0))


@pytest.mark.full
def test_hundreds_of_sources_under_few_file_handles(tmp_path):
    """In a process of its own: 70 sources, where 48 files may be open."""
    rows = [
        {"text": f"text {number} of {source} " * 30, "source": f"s{source}"}
        for source in range(70)
        for number in range(3)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"
        "from data_pipeline import errors; from data_pipeline.commands import prepare\n"
        "sys.exit(errors.run(lambda: prepare.main(sys.argv[1:])))"
    )
    arguments = ["--source", f"m:{tmp_path}/a.jsonl", "--tokenizer", "gpt2-4096", "--workers", "1"]
    program = [sys.executable, "-c", code, *arguments]
    first = subprocess.run([*program, "--out_dir", tmp_path / "a"], cwd=ROOT, capture_output=True)
    assert first.returncode == 0, first.stderr
    again = [*program, "--exclude_dir", tmp_path / "a", "--out_dir", tmp_path / "b"]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "every document is in an excluded dataset" in done.stderr


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 201])
def test_source_names_are_directory_names(tmp_path, name):
    with pytest.raises(errors.UserError, match="source name"):
        build(tmp_path / "d", [doc("text", source=name)])


def test_excluded_texts_are_left_out(tmp_path):
    texts = list(documents("s", 150, 0))
    hashes = np.sort(np.array([hashing.text_hash(t.text) for t in texts[:50]], np.uint64))
    dataset, reports = build(tmp_path / "d", texts, excluded=hashes)
    assert reports["s"].known == 50
    assert sum(dataset.sources["s"].documents.values()) == 100


def add(root, texts, **changes):
    reports = append.append_documents(
        texts,
        dataset_dir=root,
        vocabulary=tokenizer.get(changes.pop("name", SMALL)),
        settings=settings(allow_short=True, **changes),
        recorded={"added": True},
        groups={},
    )
    dataset = shards.open_dataset(root)
    verification.verify(dataset)
    return dataset, reports


def test_a_text_of_a_cut_source_is_not_trained_on_in_another(tmp_path):
    """Pieces of it are val there; a source of many documents has it whole."""
    whole = list(documents("many", 120, 0))
    few = [dataclasses.replace(item, source="few") for item in whole[:20]]
    dataset, reports = build(tmp_path / "both", [*whole, *few])
    cut = shards.cut_texts(dataset, "few")
    assert len(cut) == 20
    for split in shards.SPLITS:
        assert not np.isin(dataset.sources["many"].stream(split).doc_hashes, cut).any()
    assert reports["many"].known == 20


def test_a_cut_text_in_another_dataset_is_an_overlap(tmp_path):
    short = list(documents("many", 120, 0))
    whole = [  # so long that each is cut into several pieces
        dataclasses.replace(item, text="\n\n".join(x.text for x in short[n:] + short[:n]))
        for n, item in enumerate(short)
    ]
    build(tmp_path / "many", whole)
    build(tmp_path / "few", [dataclasses.replace(item, source="few") for item in whole[:20]])
    components = mixture.build(
        domain=[str(tmp_path / "few")],
        general=[str(tmp_path / "many")],
        domain_weights=(),
        general_weights=(),
        replay_ratio=0.5,
    ).components
    with pytest.raises(errors.UserError, match="prepare one of the two again with --exclude_dir"):
        mixture.check_overlap(components)
    # Alone, each is fine.
    mixture.check_overlap(components[:1])
    mixture.check_overlap(components[1:])


def test_all_parts_of_a_long_document_are_on_one_side(tmp_path):
    rng = random.Random(0)
    sizes = pieces.MAX_DOCUMENT_CHARS // 6
    texts = [
        dataclasses.replace(item, source="x", text=item.text + f" {n}")
        for n, item in enumerate(documents("x", 110, 0))
    ]
    words = ["".join(rng.choices("abcdefgh", k=5)) for _ in range(200)]
    for n in range(4):
        text = " ".join(rng.choices(words, k=4 * sizes))
        texts.append(dataclasses.replace(texts[0], id=f"long{n}", path=f"long{n}", text=text))
        parts = [
            hashing.text_hash(p) for p in pieces.cut(text, target_chars=pieces.MAX_DOCUMENT_CHARS)
        ]
        assert len(parts) > 2
        texts[-1] = texts[-1], parts
    long = texts[-4:]
    dataset, _ = build(tmp_path / "d", [*texts[:-4], *(item for item, _ in long)], val_fraction=0.5)
    val = set(dataset.sources["x"].stream("val").doc_hashes.tolist())
    for _, parts in long:
        assert sum(part in val for part in parts) in (0, len(parts))


def test_parts_that_a_reader_yields_of_one_document_are_on_one_side(tmp_path):
    """A text file above a million characters comes in parts of the same id."""
    items = []
    for n, item in enumerate(documents("x", 240, 0)):
        items.append(dataclasses.replace(item, id=f"file#{n // 2}"))
    dataset, _ = build(tmp_path / "d", items, val_fraction=0.5)
    val = set(dataset.sources["x"].stream("val").doc_hashes.tolist())
    sides = [hashing.text_hash(item.text) in val for item in items]
    assert sides[::2] == sides[1::2] and 30 < sum(sides[::2]) < 90


def test_a_long_document_given_twice_is_split(tmp_path, monkeypatch):
    """Its parts share a key, which does not make the copies a cluster of near-duplicates."""
    monkeypatch.setattr(pieces, "MAX_DOCUMENT_CHARS", 50_000)
    text = "\n\n".join(item.text for item in documents("x", 200, 0))
    assert len(text) > 100_000
    book = dataclasses.replace(next(iter(documents("x", 1, 0))), text=text)
    once, _ = build(tmp_path / "once", [book])
    twice, _ = build(tmp_path / "twice", [book, dataclasses.replace(book, id="copy")])
    for split in shards.SPLITS:
        tokens = [one.sources["x"].tokens[split] for one in (once, twice)]
        assert tokens[0] > 0 and 0.5 < tokens[1] / tokens[0] < 2


def test_which_of_two_cut_sources_keeps_a_text_does_not_depend_on_their_order(tmp_path):
    few = list(documents("b", 30, 0))
    same = [dataclasses.replace(item, source="a") for item in few[:10]]
    one, reports = build(tmp_path / "1", [*few, *same])
    other, _ = build(tmp_path / "2", [*same, *few])
    assert one.fingerprint == other.fingerprint
    assert reports["b"].known == 10 and "a" in one.sources


def test_append_adds_what_is_new(tmp_path):
    root = tmp_path / "d"
    before, _ = build(root, documents("a", 150, 0))
    shard = before.sources["a"].parts["train"][0]
    content = Path(shard.path + ".bin").read_bytes()
    after, reports = add(root, [*documents("a", 200, 0), *documents("b", 120, 0)])
    # 150 of a's 200 were there already.
    assert {one.name: one.known for one in reports} == {"a": 150, "b": 0}
    assert sum(after.sources["a"].documents.values()) == 200
    assert sum(after.sources["b"].documents.values()) == 120
    assert Path(shard.path + ".bin").read_bytes() == content
    assert after.fingerprint != before.fingerprint
    assert len(after.settings) == 2
    # The split rule goes on: as if all had been there from the start.
    whole, _ = build(tmp_path / "whole", [*documents("a", 200, 0), *documents("b", 120, 0)])
    for name in "ab":
        assert sorted(decoded(after, name, "val")) == sorted(decoded(whole, name, "val"))
    # A reader that opened before still reads what it opened.
    assert len(before.sources["a"].stream("train")[0:100]) == 100


def test_append_recognises_a_text_that_was_cut(tmp_path):
    root = tmp_path / "d"
    book = "\n\n".join(text.text for text in documents("s", 300, 0))
    before, _ = build(root, [doc(book)])
    after, reports = add(root, [doc(book)])
    assert reports[0].known == 1 and after.fingerprint == before.fingerprint


def test_append_refuses_another_tokenizer(tmp_path):
    build(tmp_path / "d", documents("a", 150, 0))
    before = tree(tmp_path / "d")
    with pytest.raises(errors.UserError, match="same tokenizer"):
        add(tmp_path / "d", documents("b", 120, 0), name="gpt2")
    assert tree(tmp_path / "d") == before


def test_an_append_that_dies_leaves_the_old_dataset(tmp_path, monkeypatch):
    root = tmp_path / "d"
    before, _ = build(root, documents("a", 150, 0))

    def dying(*_):
        raise KeyboardInterrupt

    # After the new shards stand in their places, before the manifest names them.
    monkeypatch.setattr(atomic, "write_json", dying)
    with pytest.raises(KeyboardInterrupt):
        add(root, documents("a", 400, 1))
    monkeypatch.undo()
    still = shards.open_dataset(root)
    verification.verify(still)
    assert still.fingerprint == before.fingerprint
    # The next append writes over what the dead one left, and the same as a first one.
    after, _ = add(root, documents("a", 250, 2))
    build(tmp_path / "other", documents("a", 150, 0))
    other, _ = add(tmp_path / "other", documents("a", 250, 2))
    assert after.fingerprint == other.fingerprint


def test_one_writer_at_a_time(tmp_path):
    build(tmp_path / "d", documents("a", 150, 0))
    with atomic.locked(tmp_path / "d"), pytest.raises(errors.UserError, match="another command"):
        add(tmp_path / "d", documents("b", 120, 0))


def test_cutting_keeps_the_text_and_prefers_blank_lines():
    text = "\n\n".join(f"    paragraph {i}\n        line two of {i}" for i in range(200))
    parts = list(pieces.cut(text, target_chars=500))
    assert max(map(len, parts)) <= 500 and min(map(len, parts[:-1])) >= 200
    assert "\n\n".join(parts) == text
    assert all(part.startswith("    paragraph") for part in parts)
    assert "".join(pieces.cut("y" * 1234, target_chars=100)) == "y" * 1234
    assert list(pieces.cut("short\n", target_chars=100)) == ["short\n"]
