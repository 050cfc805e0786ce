"""The manifest of a step: what it vouches for, and what may be taken out of it."""

import json
import shutil

import pytest

from mypt_jax.runs import integrity


@pytest.fixture
def step(tmp_path):
    (tmp_path / "params" / "d").mkdir(parents=True)
    (tmp_path / "rest").mkdir()
    (tmp_path / "params" / "d" / "data").write_bytes(bytes(range(256)) * 40_000)
    (tmp_path / "params" / "empty").touch()
    (tmp_path / "rest" / "moments").write_bytes(b"moments")
    assert not integrity.is_committed(tmp_path)
    assert integrity.write_manifest(tmp_path) == 256 * 40_000 + 7
    return tmp_path


def test_every_file_is_in_it(step):
    files = json.loads((step / integrity.MANIFEST).read_text())["files"]
    assert sorted(files) == ["params/d/data", "params/empty", "rest/moments"]
    assert integrity.is_committed(step) and integrity.fault(step) == ""


@pytest.mark.parametrize("position", [0, 5_000_000, -1])
def test_any_bit_counts(step, position):
    data = bytearray((step / "params" / "d" / "data").read_bytes())
    data[position] ^= 0x80
    (step / "params" / "d" / "data").write_bytes(data)
    assert "params/d/data does not have the SHA-256" in integrity.fault(step)


def test_a_part_can_be_forgotten_before_it_is_removed(step):
    """A kill between the two leaves a valid step."""
    integrity.forget(step, "rest")
    assert integrity.fault(step) == ""
    shutil.rmtree(step / "rest")
    assert integrity.fault(step) == ""
    (step / "params" / "empty").unlink()
    assert integrity.fault(step) == "file params/empty is missing"


def test_what_cannot_be_read_is_a_fault_and_no_traceback(step):
    (step / "params" / "empty").unlink()
    (step / "params" / "empty").symlink_to(step / "params")
    assert "params/empty is missing" in integrity.fault(step)
    (step / integrity.MANIFEST).write_bytes(b"\xff\xfe")
    assert "unreadable (UnicodeDecodeError)" in integrity.fault(step)
