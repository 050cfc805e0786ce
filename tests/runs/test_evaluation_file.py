"""An evaluation that is not as it was written is not compared with, and stops nothing."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mypt_jax.runs import evaluation_file, integrity

ARRAYS = {
    "general/a/nll_sum_D": np.array([3.5, 2.25]),
    "general/a/tokens_D": np.array([10, 9]),
    "general/a/doc_D": np.array([0, 4]),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("run") / "eval" / "step_00000004.npz")
    evaluation_file.save(path, ARRAYS)
    return path


def equal(found) -> bool:
    return all(np.array_equal(found[key], ARRAYS[key]) for key in found)


def test_what_was_written_is_read(path):
    found, reason = evaluation_file.read(path)
    assert reason == "" and equal(found) and sorted(found) == sorted(ARRAYS)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_damage_is_a_fault_and_makes_no_other_figure(path, data, has_manifest):
    """Without a manifest, of an older run, the format's own checks find what counts."""
    with open(path, "rb") as file:
        whole = file.read()
    manifest = f"{path.rpartition('/')[0]}/{integrity.MANIFEST}"
    with open(manifest) as file:
        vouched = file.read()
    kind = data.draw(st.sampled_from(["cut", "flipped", "garbage"]))
    if kind == "cut":
        bad = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flipped":
        bad = bytearray(whole)
        bad[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        bad = data.draw(st.binary(max_size=200))
    with open(path, "wb") as file:
        file.write(bad)
    if not has_manifest:
        os.remove(manifest)
    try:
        found, reason = evaluation_file.read(path)
        assert "\n" not in reason and (found is None) == bool(reason)
        if has_manifest:
            assert path in reason
        elif found is not None:
            assert equal(found)
    finally:
        with open(path, "wb") as file:
            file.write(whole)
        with open(manifest, "w") as file:
            file.write(vouched)


def test_a_missing_file_is_damage_only_where_it_was_written(path, tmp_path):
    assert evaluation_file.damage(path) == ""
    other = path.replace("4.npz", "8.npz")
    assert evaluation_file.damage(other) == "" and "is missing" in evaluation_file.read(other)[1]
    evaluation_file.save(other, ARRAYS)
    os.remove(other)
    assert "step_00000008.npz is missing" in evaluation_file.damage(other)
    nowhere = str(tmp_path / "gone" / "eval" / "step_00000008.npz")
    assert evaluation_file.damage(nowhere) == ""


def test_an_older_run_gets_a_manifest_of_all_that_is_there(tmp_path):
    directory = tmp_path / "eval"
    directory.mkdir()
    np.savez_compressed(directory / "step_00000002.npz", **ARRAYS)
    assert evaluation_file.read(str(directory / "step_00000002.npz"))[1] == ""
    evaluation_file.save(str(directory / "step_00000004.npz"), ARRAYS)
    files = json.loads((directory / integrity.MANIFEST).read_text())["files"]
    assert sorted(files) == ["step_00000002.npz", "step_00000004.npz"]


def test_a_damaged_manifest_vouches_for_nothing_and_is_made_anew(tmp_path):
    path = str(tmp_path / "step_00000002.npz")
    evaluation_file.save(path, ARRAYS)
    (tmp_path / integrity.MANIFEST).write_text('{"schema": 1, "files": {"a": 5}}')
    assert "manifest is unreadable (TypeError)" in evaluation_file.read(path)[1]
    evaluation_file.save(path, ARRAYS)
    assert evaluation_file.read(path)[1] == ""
