"""Every file that a run reads is compared with its manifest, whatever stores it."""

import shutil
from pathlib import Path

import pytest

from data_pipeline import errors
from data_pipeline.commands import export_tfds
from data_pipeline.tokens import check, shards, verification


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def checked(root, split="train") -> check.Check:
    found = check.Check((one, split) for one in shards.open_dataset(root).sources.values())
    found.start()
    return found


def flip(path: Path, at: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["bin", "idx", "doc"])
def test_a_changed_file_of_the_same_size_is_named(datasets, tmp_path, suffix):
    root = Path(shutil.copytree(datasets["domain"], tmp_path / "copy"))
    whole = checked(root)
    whole.wait()
    assert whole.nbytes == sum(path.stat().st_size for path in root.glob("*/train/*"))
    changed = sorted(root.glob(f"laws/train/*.{suffix}"))[-1]
    flip(changed)
    with pytest.raises(errors.UserError, match=f"{changed} was changed"):
        checked(root).wait()
    checked(root, "val").wait()  # what is not read is not looked at


def test_a_file_that_is_gone_is_named(datasets, tmp_path):
    root = Path(shutil.copytree(datasets["domain"], tmp_path / "copy"))
    found = check.Check((one, "train") for one in shards.open_dataset(root).sources.values())
    gone = sorted(root.glob("laws/train/*.bin"))[0]
    gone.unlink()
    found.start()
    with pytest.raises(errors.UserError, match=f"{gone} cannot be read"):
        found.wait()


@pytest.mark.parametrize("storage", ["array_record", "tfds"])
def test_records_are_compared_by_their_tokens(datasets, tmp_path, storage):
    root = tmp_path / storage
    export_tfds.main(
        ["--dataset_dir", datasets["general"], "--out_dir", str(root), "--format", storage]
    )
    found = checked(root)
    found.wait()
    source = shards.open_dataset(root).sources["encyclopedia"]
    claims = list(verification.claims(source, "train"))
    assert all(claim.paths for claim in claims)
    assert found.nbytes == 2 * source.tokens["train"] + 16 * source.documents["train"]
    flip(Path(claims[0].paths[0]))
    with pytest.raises(errors.UserError, match="encyclopedia/train: records .* cannot be read"):
        checked(root).wait()
    with pytest.raises(errors.UserError, match="was changed: its SHA-256 is"):
        claims[0].check("0" * 64)


def test_the_originals_directories_have_nothing_to_be_compared_with(tmp_path):
    found = check.Check(())
    found.start()
    found.wait()
    assert found.line() == ""
