"""The file of an evaluation: written, read, damaged."""

import math

import numpy as np
import pytest

from mypt_jax.runs import evaluation_file, evaluations
from tests import run_factory


def test_standard_error_is_that_of_the_mean_when_documents_have_one_token():
    """One token per document: the textbook standard error of a mean."""
    values = np.random.default_rng(0).normal(3, 1, 500)
    mean, stderr = evaluations.mean_and_stderr(values, np.ones(500, int))
    assert mean == pytest.approx(values.mean())
    assert stderr == pytest.approx(values.std(ddof=1) / math.sqrt(500))


def test_standard_error_sees_that_tokens_of_a_document_are_alike():
    """Repeating every document's tokens adds no information, and must not shrink the error."""
    values = np.random.default_rng(1).normal(3, 1, 200)
    once = evaluations.mean_and_stderr(values, np.ones(200, int))
    tenfold = evaluations.mean_and_stderr(values * 10, np.full(200, 10))
    assert tenfold == pytest.approx(once)


def test_one_document_has_no_standard_error():
    assert math.isnan(evaluations.mean_and_stderr(np.array([5.0]), np.array([2]))[1])


def test_what_is_written_is_read(tmp_path):
    one = run_factory.measured([2.0, 4.0], "text")
    path = str(tmp_path / "eval" / "step_00000007.npz")
    evaluations.write(path, {"general/wiki": one, "extra/domain/law": one})
    found = evaluations.read(path)
    assert not found.fault and [*found.sources] == ["general/wiki", "extra/domain/law"]
    assert found.sources["general/wiki"].fingerprint == one.fingerprint
    assert found.mean("general") == found.mean("extra/domain") == 3.0
    assert found.mean("domain") is None and found.mean("general", "drift") is None


def test_what_cannot_be_read_says_so_and_nothing_else(tmp_path):
    run_factory.write_evaluation(tmp_path, 7, {"general/wiki": [2.0, 3.0]})
    path = tmp_path / "eval" / "step_00000007.npz"
    path.write_bytes(path.read_bytes()[:-9])
    found = evaluations.read(str(path))
    assert not found.sources and "its manifest says" in found.fault
    assert "is missing" in evaluations.read(str(tmp_path / "none.npz")).fault
    evaluation_file.save(str(path), {"general/wiki/wjndows_sha256": np.zeros(32, "u1")})
    assert "wjndows_sha256 is unknown" in evaluations.read(str(path)).fault


def test_sums_of_other_shapes_are_damage(tmp_path):
    path = tmp_path / "one.npz"
    fields = {"nll_sum_D": np.zeros(3), "tokens_D": np.ones(2, int), "doc_D": np.arange(2)}
    np.savez(path, **{f"general/wiki/{name}": array for name, array in fields.items()})
    assert "do not fit together" in evaluations.read(str(path)).fault
