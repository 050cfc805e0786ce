"""A run has its tokenizer inside it: it may be moved, and is the same run under another path."""

import shutil

import pytest

from configs import base
from data_pipeline.errors import UserError
from mypt_jax.runs import own_tokenizer
from mypt_jax.schema import changes, keys, tree


@pytest.fixture
def folder(tmp_path):
    """A model's folder, as far as it concerns texts."""
    root = tmp_path / "model"
    root.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "config.json", "model.safetensors"):
        (root / name).write_text(f"{name} of the model")
    return root


def test_a_run_keeps_what_its_tokenizer_came_with(folder, tmp_path):
    run = tmp_path / "run"
    own_tokenizer.keep(str(run), f"hf:{folder}")
    names = {path.name for path in (run / "tokenizer").iterdir()}
    assert names == {"tokenizer.json", "chat_template.jinja", own_tokenizer.ORIGIN}
    config = {"data": {"tokenizer": f"hf:{folder}"}}
    moved = run.rename(tmp_path / "moved")
    assert own_tokenizer.name_of(str(moved), config) == f"hf:{moved}/tokenizer"
    assert own_tokenizer.name_of(str(tmp_path / "none"), config) == f"hf:{folder}"
    own_tokenizer.keep(str(tmp_path / "child"), "gpt2", parent=str(moved))
    assert (tmp_path / "child" / "tokenizer" / "chat_template.jinja").exists()
    assert own_tokenizer.name_of(str(tmp_path / "child"), {"data": {"tokenizer": "gpt2"}}) == "gpt2"


def test_a_start_that_is_killed_in_between_leaves_no_part_of_a_tokenizer(
    folder, tmp_path, monkeypatch
):
    run, copies = tmp_path / "run", []

    def killed(source, target):
        copies.append(target)
        if len(copies) == 2:
            raise KeyboardInterrupt
        return copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(own_tokenizer.shutil, "copyfile", killed)
    with pytest.raises(KeyboardInterrupt):
        own_tokenizer.keep(str(run), f"hf:{folder}")
    own_tokenizer.keep(str(run), f"hf:{folder}")
    assert len(list((run / "tokenizer").iterdir())) == 3
    assert [path.name for path in run.iterdir()] == ["tokenizer"]


def test_another_path_of_the_same_tokenizer_is_no_change(folder, tmp_path):
    run = tmp_path / "run"
    own_tokenizer.keep(str(run), f"hf:{folder}")
    before = tree.plain(base.get_config("tiny").to_dict()) | {"workdir": str(run)}
    before["data"]["tokenizer"] = "hf:where/it/was"
    now = tree.plain(before) | {"data": {**before["data"], "tokenizer": f"hf:{folder}"}}
    assert changes.between(before, now, keys.TRAINING) == {}
    (folder / "tokenizer.json").write_text("another")
    assert [*changes.between(before, now, keys.TRAINING)] == ["data.tokenizer"]


def test_another_tokenizer_is_named():
    record = {"tokenizer": {"name": "gpt2", "sha256": "0" * 64}}
    with pytest.raises(UserError, match="was trained with tokenizer gpt2 .0000.*, found gpt2 "):
        own_tokenizer.of("run", {"data": {"tokenizer": "gpt2"}}, record)
