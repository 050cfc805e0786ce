"""Bad data, bad configs, hostile files: rows 26, 28, 36 to 42, 46 to 50 and 57 to 60.

What is tested where the code is made is named in docs/reliability.md and not repeated here.
"""

import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL

from configs import base, v3
from data_pipeline import document
from data_pipeline.batches import loader, mixture
from data_pipeline.corpus.fetch import archives
from data_pipeline.errors import UserError
from data_pipeline.readers import xmlsafe
from data_pipeline.tokens import shards, verification
from mypt_jax.monitor import device
from mypt_jax.runs import evaluations
from mypt_jax.schema import validation


@pytest.fixture
def general(datasets, tmp_path) -> Path:
    """A copy of the general dataset, to be damaged."""
    return Path(shutil.copytree(datasets["general"], tmp_path / "general"))


def settings(datasets, tmp_path, stage=base, **changes) -> dict:
    made = stage.get_config("tiny").to_dict()
    data = {"data.domain": (datasets["domain"],), "data.general": (datasets["general"],)}
    for key, value in {**SMALL, **data, "workdir": str(tmp_path / "run"), **changes}.items():
        *path, leaf = key.split(".")
        node = made
        for name in path:
            node = node[name]
        node[leaf] = value
    return made


def shard(dataset: Path, split: str = "train", suffix: str = "bin") -> Path:
    return sorted(dataset.rglob(f"{split}/*.{suffix}"))[0]


def edit(dataset: Path, change) -> None:
    path = dataset / shards.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


DATA = {
    "37 odd size": (lambda d: append(shard(d), b"\0"), "shard_00000.bin"),
    "37 empty shard": (lambda d: shard(d).write_bytes(b""), "shard_00000.bin"),
    "38 other dtype": (lambda d: edit(d, lambda m: m.update(dtype="uint32")), "shard_00000.bin"),
    "40 fewer tokens": (
        lambda d: shard(d).write_bytes(shard(d).read_bytes()[:-2]),
        "shard_00000.bin",
    ),
    "25 grown": (lambda d: append(shard(d), b"\0\0"), "shard_00000.bin"),
    "26 other tokenizer": (
        lambda d: edit(d, lambda m: m["tokenizer"].update(sha256="0" * 64)),
        "tokenizer",
    ),
    "36 id in the manifest": (lambda d: edit(d, lambda m: m.update(max_id=60000)), "60000"),
}


@pytest.mark.parametrize("name", DATA)
def test_a_damaged_dataset_is_refused_with_its_file(name, general, datasets, tmp_path):
    """Rows 25, 26, 36, 37, 38, 40: before a device is touched, nothing written."""
    damage, word = DATA[name]
    damage(general)
    made = settings(datasets, tmp_path, **{"data.general": (str(general),)})
    with pytest.raises(UserError) as caught:
        validation.validate(made)
    assert word in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_id_beyond_the_vocabulary_never_reaches_the_device(general):
    """Row 36: JAX would take the last row of the embedding without a word."""
    tokens = np.fromfile(shard(general), "<u2")
    tokens[::64] = 60_000
    tokens.tofile(shard(general))
    with pytest.raises(UserError, match="shard_00000"):
        verification.verify(shards.open_dataset(general))
    batches = loader.TrainLoader(
        mixture.build(
            domain=(),
            general=(str(general),),
            domain_weights=(),
            general_weights=(),
            replay_ratio=1.0,
        ),
        block_size=32,
        batch_size=64,
        seed=0,
    )
    with pytest.raises(UserError, match="shard_00000.bin, token .*: id 60000"):
        for step in range(40):
            batches.batch(step)


def test_a_val_document_in_train_is_found(general, datasets, tmp_path):
    """Row 42."""
    train, val = shard(general, suffix="doc"), shard(general, "val", "doc")
    hashes = np.fromfile(train, "<u8")
    hashes[0] = np.fromfile(val, "<u8")[0]
    hashes.tofile(train)
    made = settings(datasets, tmp_path, **{"data.general": (str(general),)})
    with pytest.raises(UserError, match="general"):
        validation.validate(made)


def test_the_originals_loss_mask_is_refused(tmp_path):
    """Row 46: this trainer has no loss masks, so data that needs one is no input for it."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        np.arange(100, dtype="<u4").tofile(tmp_path / split / "shard_00000.bin")
    (tmp_path / "dataset_metadata.json").write_text("{}")
    np.ones(100, np.uint8).tofile(tmp_path / "train" / "shard_00000_mask.bin")
    with pytest.raises(UserError, match="_mask.bin"):
        shards.open_dataset(tmp_path)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_replay_of_nothing_and_of_everything_works(datasets, tmp_path, ratio):
    """Row 47."""
    made = settings(datasets, tmp_path, **{"data.replay_ratio": ratio})
    assert validation.validate(made).config["data"]["replay_ratio"] == ratio


def test_the_recorded_parent_must_be_the_configured_one(datasets, tmp_path, undisturbed):
    """Row 28."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps({"init_from": "runs/other"}))
    made = settings(datasets, tmp_path, stage=v3, init_from=str(undisturbed))
    with pytest.raises(UserError, match="was started from runs/other"):
        validation.validate(made)


COMMANDS = {
    "unknown key": ("optim.peak_ls=1e-4", "optim.peak_lr"),
    "text for a number": ("num_steps=many", "num_steps"),
    "float for an int": ("batch_size=1e-4", "batch_size"),
    "nan": ("optim.peak_lr=nan", "peak_lr"),
    "negative": ("optim.peak_lr=-1e-4", "peak_lr"),
    "number for a bool": ("model.scan_layers=7", "scan_layers"),
    "heads": ("model.n_head=3", "n_head"),
    "warmup": ("optim.warmup_steps=500", "warmup_steps"),
    "replay": ("data.replay_ratio=20", "replay_ratio"),
}


def test_bad_overrides_are_one_line_and_exit_code_2(start, tmp_path):
    """Rows 47, 48, 49 as commands."""
    started = {}
    for name, (override, _) in COMMANDS.items():
        key, _, value = override.partition("=")
        started[name] = start(tmp_path / "run", **{key: value})
    for name, trainer in started.items():
        assert trainer.wait() == 2, (name, trainer.stderr)
        assert trainer.stderr.count("\n") == 1, (name, trainer.stderr)
        assert COMMANDS[name][1] in trainer.stderr, (name, trainer.stderr)
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_told_before_compilation():
    """Row 50."""
    line = device.memory_note(held_bytes=9e9, limit_bytes=8e9)
    assert "9.0 GB" in line and "8.0 GB" in line and "fsdp" in line
    assert device.memory_note(held_bytes=9e9, limit_bytes=16e9) == ""


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize("name", ["../out", "/abs/out", "a/../../out", "C:/out"])
def test_tar_members_cannot_leave(tmp_path, name):
    """Row 57."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tar_member(name), io.BytesIO(b""))
    with pytest.raises(UserError, match="leaves the archive"):
        archives.unpack(archive, tmp_path / "in" / "target", max_bytes=1000)
    assert [p for p in tmp_path.rglob("out")] == []


def test_tar_links_and_devices_are_left_out(tmp_path):
    """Row 57."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tar_member("soft", tarfile.SYMTYPE, "/etc/passwd"))
        tar.addfile(tar_member("hard", tarfile.LNKTYPE, "/etc/passwd"))
        tar.addfile(tar_member("device", tarfile.CHRTYPE))
        tar.addfile(tar_member("fifo", tarfile.FIFOTYPE))
        tar.addfile(tar_member("file"), io.BytesIO(b""))
    assert archives.unpack(archive, tmp_path / "target", max_bytes=1000) == 1
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["file"]
    assert stat.S_ISREG(os.lstat(tmp_path / "target" / "file").st_mode)


def test_a_zip_bomb_stops_at_the_budget(tmp_path, monkeypatch):
    """Row 58: a ratio of a thousand, and too many entries."""
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(30_000_000))
    assert archive.stat().st_size < 40_000
    with pytest.raises(UserError, match="the limit"):
        archives.unpack(archive, tmp_path / "one", max_bytes=5_000_000)
    assert sum(p.stat().st_size for p in (tmp_path / "one").iterdir()) <= 5_000_000
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(12):
            file.writestr(f"{number}", "")
    with pytest.raises(UserError, match="more than 10 files"):
        archives.unpack(archive, tmp_path / "two", max_bytes=1000)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'
XML = {
    "billion laughs": LAUGHS,
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "dtd": '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
    "depth": "<a>" * 100_000 + "</a>" * 100_000,
}


@pytest.mark.parametrize("name", XML)
def test_hostile_xml_is_refused_with_its_name(name):
    """Row 59."""
    with pytest.raises(document.ReadError) as caught:
        for _ in xmlsafe.subtrees(
            io.BytesIO(XML[name].encode()), wanted=frozenset({"a"}), path="hostile.xml"
        ):
            pass
    assert "hostile.xml" in str(caught.value)


def test_object_arrays_are_refused(tmp_path):
    """Row 60: unpickling is never allowed."""
    path = tmp_path / "step_00000001.npz"
    fields = ("nll_sum_D", "tokens_D", "doc_D")
    np.savez(path, **{f"general/a/{field}": np.array([{}], dtype=object) for field in fields})
    found = evaluations.read(str(path))
    assert not found.sources and "cannot be read (ValueError)" in found.fault
