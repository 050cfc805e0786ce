"""A digest is remembered exactly as long as nothing has touched the file."""

import json
import os
import time

import pytest

from data_pipeline import digests


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache directory, and a file that is older than a tick of any clock."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    later = time.time_ns() + 10**10
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shard").write_bytes(b"abcd" * 1000)
    return tmp_path / "cache"


def ask(directory) -> str:
    """How the next process finds out: "read" or "recalled"."""
    memory, path = digests.Memory(directory), str(directory / "shard")
    found = memory.recall("shard", [path])
    if found:
        assert found == digests.sha256(path)
        return "recalled"
    memory.learn("shard", [path], lambda: digests.sha256(path))
    memory.save()
    return "read"


def test_untouched_files_are_read_once(cache, tmp_path):
    data = tmp_path / "data"
    assert [ask(data) for _ in range(3)] == ["read", "recalled", "recalled"]


@pytest.mark.parametrize("how", ["written", "written and its mtime set back", "replaced", "moved"])
def test_a_touched_file_is_read_again(cache, tmp_path, how):
    data, shard = tmp_path / "data", tmp_path / "data" / "shard"
    ask(data)
    before = shard.stat()
    if how.startswith("written"):
        with open(shard, "r+b") as file:
            file.write(b"x")
    if how.endswith("back"):
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "replaced":
        (data / "other").write_bytes(shard.read_bytes())
        os.utime(data / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(data / "other", shard)
    if how == "moved":
        data = data.rename(tmp_path / "elsewhere")
    assert [ask(data), ask(data)] == ["read", "recalled"]


def test_what_is_just_being_written_is_not_remembered(cache, tmp_path, monkeypatch):
    """A second write in the same tick of the file system's clock would leave the same times."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (tmp_path / "data" / "shard").write_bytes(b"new")
    assert [ask(tmp_path / "data") for _ in range(2)] == ["read", "read"]


@pytest.mark.parametrize(
    "content", ["", "[]", "\x00", '{"files": {"shard": 1}}', '{"files": {"shard": {"sha256": 0}}}']
)
def test_a_damaged_memory_is_an_empty_one(cache, tmp_path, content):
    ask(tmp_path / "data")
    (kept,) = cache.rglob("*.json")
    assert json.loads(kept.read_text())["directory"] == str(tmp_path / "data")
    kept.write_text(content)
    assert [ask(tmp_path / "data") for _ in range(2)] == ["read", "recalled"]


@pytest.mark.parametrize("place", ["a file", "relative", "nowhere"])
def test_without_a_cache_directory_everything_is_read(tmp_path, monkeypatch, place):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shard").write_bytes(b"abcd")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", {"a file": str(tmp_path / "file")}.get(place, "here"))
    if place == "nowhere":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert [ask(tmp_path / "data") for _ in range(2)] == ["read", "read"]
    assert sorted(os.listdir(tmp_path)) == ["data", "file"]
