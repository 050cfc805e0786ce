"""The format on disk: what is written is read back, and every kind of damage is named."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import errors
from data_pipeline.tokens import (
    array_record,
    mypt_format,
    shards,
    streams,
    tokenizer,
    verification,
)


@pytest.fixture
def copy(datasets, tmp_path):
    return shutil.copytree(datasets["domain"], tmp_path / "copy")


def first(root, suffix="bin"):
    return sorted(root.glob(f"laws/train/*.{suffix}"))[0]


def change_manifest(root, change):
    path = root / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_open_reads_what_was_written(datasets):
    dataset = shards.open_dataset(datasets["domain"])
    verification.verify(dataset)
    assert sorted(dataset.sources) == ["laws", "manuals"]
    assert dataset.tokenizer == "gpt2-4096" and dataset.eot == 4096
    assert dataset.max_id == dataset.eot
    for source in dataset.sources.values():
        assert source.licence == "MIT"
        for split in shards.SPLITS:
            stream = source.stream(split)
            assert len(stream) == source.tokens[split] > 0
            ends = stream.doc_ends
            assert len(ends) == source.documents[split] == len(stream.doc_hashes)
            assert int(ends[-1]) == len(stream)
            tokens = stream[0 : len(stream)]
            assert np.array_equal(np.flatnonzero(tokens == dataset.eot) + 1, ends)


def test_a_licence_that_some_documents_lack_is_not_that_of_all(copy):
    def change(manifest):
        manifest["sources"]["laws"]["licences"][""] = 3

    change_manifest(copy, change)
    sources = shards.open_dataset(copy).sources
    assert sources["laws"].licence == "MIT, in part not stated"
    assert sources["manuals"].licence == "MIT"


def test_reads_cross_shards(datasets):
    source = shards.open_dataset(datasets["domain"]).sources["laws"]
    stream = source.stream("train")
    assert len(stream.parts) > 1
    whole = np.concatenate([np.fromfile(part.path + ".bin", "<u2") for part in stream.parts])
    edge = stream.parts[0].tokens
    for a, b in [(0, 5), (edge - 3, edge + 3), (0, len(stream)), (edge, edge), (len(stream),) * 2]:
        assert np.array_equal(stream[a:b], whole[a:b])
    assert stream[edge] == whole[edge]
    assert stream[0:3].dtype == np.int32
    with pytest.raises(IndexError):
        stream.read(len(stream) - 1, len(stream) + 1)
    with pytest.raises(IndexError):
        stream.read(-1, 1)


def test_a_stream_is_picklable_and_has_a_stable_name(datasets):
    stream = shards.open_dataset(datasets["domain"]).sources["laws"].stream("train")
    stream[0:9]
    again = pickle.loads(pickle.dumps(stream))
    assert repr(again) == repr(stream) and np.array_equal(again[0:9], stream[0:9])


def test_few_open_files(datasets, monkeypatch):
    monkeypatch.setattr(streams, "_OPEN_SHARDS", 1)
    stream = shards.open_dataset(datasets["domain"]).sources["laws"].stream("train")
    whole = stream[0 : len(stream)]
    for start in range(0, len(stream) - 50, 997):
        assert np.array_equal(stream[start : start + 50], whole[start : start + 50])
    assert len(stream._maps) == 1


DAMAGE = {
    "truncated": lambda root: first(root).write_bytes(first(root).read_bytes()[:-2]),
    "odd": lambda root: first(root).write_bytes(first(root).read_bytes() + b"x"),
    "empty": lambda root: first(root).write_bytes(b""),
    "missing": lambda root: first(root).unlink(),
    "no ends": lambda root: first(root, "idx").unlink(),
    "short hashes": lambda root: first(root, "doc").write_bytes(b"12345678"),
    "no manifest": lambda root: (root / "manifest.json").unlink(),
    "no json": lambda root: (root / "manifest.json").write_text("{"),
    "not a dataset": lambda root: (root / "manifest.json").write_text('{"kind": "x"}'),
    "newer": lambda root: change_manifest(root, lambda m: m.update(schema=99)),
    "another dtype": lambda root: change_manifest(root, lambda m: m.update(dtype="uint32")),
    "unknown dtype": lambda root: change_manifest(root, lambda m: m.update(dtype="float32")),
    "no sources": lambda root: change_manifest(root, lambda m: m.update(sources={})),
    "ids too large": lambda root: change_manifest(root, lambda m: m.update(max_id=4097)),
    "no tokenizer": lambda root: change_manifest(root, lambda m: m.pop("tokenizer")),
    "a file outside": lambda root: change_manifest(
        root,
        lambda m: m["sources"]["laws"]["splits"]["train"]["shards"][0].update(file="../x/shard_0"),
    ),
    "a source outside": lambda root: change_manifest(
        root, lambda m: m["sources"].update({"../../x": m["sources"]["laws"]})
    ),
    "an id that is none": lambda root: change_manifest(root, lambda m: m.update(max_id="x")),
    "no size": lambda root: change_manifest(root, lambda m: m["tokenizer"].update(vocab_size=None)),
    "a name that is none": lambda root: change_manifest(
        root, lambda m: m["tokenizer"].update(name=["gpt2"])
    ),
    "no digest": lambda root: change_manifest(root, lambda m: m["tokenizer"].update(sha256=None)),
    "no end-of-text": lambda root: change_manifest(root, lambda m: m["tokenizer"].update(eot=None)),
    "a negative BOS": lambda root: change_manifest(root, lambda m: m["tokenizer"].update(bos=-5)),
    "a BOS that is none": lambda root: change_manifest(
        root, lambda m: m["tokenizer"].update(bos=1.5)
    ),
    "a BOS too large": lambda root: change_manifest(
        root, lambda m: m["tokenizer"].update(bos=9999)
    ),
    "too deep": lambda root: (root / "manifest.json").write_text("[" * 200_000),
    "wrong sum": lambda root: change_manifest(
        root, lambda m: m["sources"]["laws"]["splits"]["train"].update(tokens=7)
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_when_opening(copy, kind):
    DAMAGE[kind](copy)
    with pytest.raises(errors.UserError) as caught:
        shards.open_dataset(copy)
    # One line that names a file of the dataset and says what to do.
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_verify_finds_what_sizes_do_not_show(copy):
    content = bytearray(first(copy).read_bytes())
    content[10] ^= 1
    first(copy).write_bytes(content)
    dataset = shards.open_dataset(copy)
    with pytest.raises(errors.UserError, match="was changed"):
        verification.verify(dataset)


def test_verify_checks_ids_and_document_ends(copy):
    def forget_hashes(manifest):
        for split in manifest["sources"]["laws"]["splits"].values():
            for shard in split["shards"]:
                shard["sha256"] = {}

    tokens = np.fromfile(first(copy), "<u2")
    for position, said in ((3, "4097"), (len(tokens) - 1, "does not end")):
        changed = tokens.copy()
        changed[position] = 4097 if position == 3 else 5
        changed.tofile(first(copy))
        change_manifest(copy, forget_hashes)
        with pytest.raises(errors.UserError, match=said):
            verification.verify(shards.open_dataset(copy))


def _all_zero(ends):
    ends[:] = 0


def _last_early(ends):
    ends[-1] -= 1


def _equal(ends):
    ends[1] = ends[0]


@pytest.mark.parametrize("damage", [2**40, 0, _all_zero, _last_early, _equal])
def test_ends_of_documents_that_are_none_are_refused(copy, damage):
    """An evaluation cut its windows by them, outside of the shard: IndexError."""
    source = next(iter(shards.open_dataset(copy).sources.values()))
    path = Path(source.parts["train"][0].path + ".idx")
    ends = np.fromfile(path, "<u8")
    if callable(damage):
        damage(ends)
    else:
        ends[len(ends) // 2] = damage
    path.write_bytes(ends.tobytes())
    with pytest.raises(errors.UserError, match="does not say where the documents"):
        _ = source.stream("train").doc_ends


def test_no_directory():
    with pytest.raises(errors.UserError, match="mypt_jax prepare"):
        shards.open_dataset("/nowhere/at/all")


def original(root, *, flat=False, shapes=((300, 200), (100,)), state=True, **metadata):
    """A directory as the original writes it: train/ and val/ with one running number."""
    root.mkdir()
    number = 0
    for split, sizes in zip(("train", "val"), shapes, strict=True):
        folder = root if flat else root / split
        folder.mkdir(exist_ok=True)
        for size in sizes:
            tokens = np.arange(number, number + size) % 50257
            tokens.astype("<u4").tofile(folder / f"shard_{number:05d}.bin")
            number += 1
    (root / "dataset_metadata.json").write_text(json.dumps(metadata))
    if state:
        content = {"token_kind": "gpt2", "chars": None, "base_vocab_size": 50257}
        (root / "tokenizer_state.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    "metadata",
    [
        {"total_tokens": 600, "train_shards": 2, "val_shards": 1, "sources": {"a": ["x.txt"]}},
        {"num_train_tokens": 500, "num_val_tokens": 100, "tokenization": "gpt2"},
    ],
)
def test_the_originals_directories_open_unchanged(tmp_path, metadata):
    root = original(tmp_path / "multi-lingual_1.5B", **metadata)
    dataset = shards.open_dataset(root)
    source = dataset.sources["multi-lingual_1.5B"]
    assert source.tokens == {"train": 500, "val": 100}
    assert dataset.tokenizer == "mypt" and dataset.tokenizer_sha256 == tokenizer.get("gpt2").sha256
    assert source.stream("train")[298:302].tolist() == [298, 299, 1, 2]
    verification.verify(dataset)


def test_the_originals_flat_directories(tmp_path):
    several = shards.open_dataset(original(tmp_path / "a", flat=True))
    assert several.sources["a"].tokens == {"train": 500, "val": 100}
    one = shards.open_dataset(original(tmp_path / "b", flat=True, shapes=((300,), ())))
    assert one.sources["b"].tokens == {"train": 0, "val": 300}


@pytest.mark.parametrize("said", [5, None, ["gpt2"]])
def test_the_originals_names_of_tokens_are_names(tmp_path, said):
    root = original(tmp_path / "a")
    (root / "tokenizer_state.json").write_text(json.dumps({"token_kind": said}))
    with pytest.raises(errors.UserError, match="has token_kind .* a name is wanted"):
        shards.open_dataset(root)


@pytest.mark.parametrize("said", ["x", None, float("nan"), float("inf"), -3, True])
def test_the_originals_share_of_val_is_a_share(tmp_path, said):
    root = original(tmp_path / "a", flat=True, val_fraction=said)
    with pytest.raises(errors.UserError, match="has val_fraction .* 0 to 1 is wanted"):
        shards.open_dataset(root)


def test_damage_in_the_originals_directories(tmp_path):
    root = original(tmp_path / "a")
    shard = root / "train" / "shard_00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(errors.UserError, match="shard_00000.bin has 1199 bytes"):
        shards.open_dataset(root)
    root = original(tmp_path / "b", train_shards=3)
    with pytest.raises(errors.UserError, match="3 train_shards, 2 are there"):
        shards.open_dataset(root)
    root = original(tmp_path / "c")
    np.array([7, 60_000], "<u4").tofile(root / "val" / "shard_00002.bin")
    with pytest.raises(errors.UserError, match="token 1: id 60000"):
        shards.open_dataset(root).sources["c"].stream("val")[0:2]


def test_control_tags_want_a_tokenizer_that_has_them(tmp_path):
    root = original(tmp_path / "a")
    dataset = shards.open_dataset(root)
    dataset.check_ids(tokenizer.get("gpt2"))
    for largest, fitting in ((50_271, ("mypt-v8", "mypt")), (50_275, ("mypt",)), (50_276, ())):
        np.array([7, largest], "<u4").tofile(root / "val" / "shard_00002.bin")
        for name in ("gpt2", "mypt-v8", "mypt"):
            if name in fitting:
                dataset.check_ids(tokenizer.get(name))
                continue
            with pytest.raises(errors.UserError, match=f"holds id {largest}, "):
                dataset.check_ids(tokenizer.get(name))


def test_what_we_write_for_the_original_is_what_it_reads(datasets, tmp_path):
    dataset = shards.open_dataset(datasets["domain"])
    of_split = {
        split: [source.stream(split) for source in dataset.sources.values()]
        for split in shards.SPLITS
    }
    (tmp_path / "out").mkdir()
    mypt_format.write(
        tmp_path / "out",
        vocabulary=tokenizer.get(dataset.tokenizer),
        splits=of_split,
        tokens_per_shard=3000,
        val_fraction=0.1,
        sources={},
        targets={},
    )
    # The original's own way of reading: sorted files, uint32, no header.
    for split, all_of in of_split.items():
        files = sorted((tmp_path / "out" / split).glob("*.bin"))
        read = np.concatenate([np.fromfile(file, np.uint32) for file in files])
        assert np.array_equal(read, np.concatenate([one[0 : len(one)] for one in all_of]))
        assert all(file.stat().st_size == 12_000 for file in files[:-1])
    metadata = json.loads((tmp_path / "out" / "dataset_metadata.json").read_text())
    assert metadata["train_shards"] == len(list((tmp_path / "out" / "train").iterdir()))
    assert shards.open_dataset(tmp_path / "out").sources["out"].tokens["train"] == sum(
        map(len, of_split["train"])
    )


@pytest.mark.parametrize("storage", array_record.STORAGES)
def test_record_streams_equal_the_shards(datasets, tmp_path, storage):
    source = shards.open_dataset(datasets["general"]).sources["encyclopedia"]
    array_record.export(source, tmp_path, dtype=source.dtype, storage=storage)
    for split in shards.SPLITS:
        stream = source.stream(split)
        exported = array_record.open_stream(
            name=f"{tmp_path}:encyclopedia/{split}",
            parts=source.parts[split],
            dtype=source.dtype,
            storage=storage,
        )
        array_record.check_equal(exported, stream)
        for a, b in [(0, 1), (1000, 1100), (1024, 2048), (len(stream) - 3, len(stream))]:
            assert np.array_equal(exported[a:b], stream[a:b])
        assert np.array_equal(exported.doc_ends, stream.doc_ends)
        assert np.array_equal(pickle.loads(pickle.dumps(exported))[5:50], stream[5:50])
