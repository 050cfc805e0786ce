"""Losses, their standard errors over documents, and differences in pairs."""

import math

import numpy as np
import pytest

from mypt_jax.evaluate import losses


def score(nll_WL, doc_WL, bytes_WL=None):
    nll_WL, doc_WL = np.asarray(nll_WL, float), np.asarray(doc_WL)
    return losses.score_of(
        {"nll": nll_WL}, doc_WL, np.ones_like(doc_WL) if bytes_WL is None else bytes_WL
    )


def test_sums_are_per_document_and_windows_keep_their_mean():
    found = score([[1, 2, 3], [4, 5, 6]], [[7, 7, 8], [8, 9, 9]])
    assert found.doc_D.tolist() == [7, 8, 9]
    assert found.nll_sum_D.tolist() == [3, 7, 11]
    assert found.tokens_D.tolist() == [2, 2, 2]
    assert found.loss_W.tolist() == [2, 5]


def test_standard_error_is_that_of_the_mean_when_documents_have_one_token():
    """One token per document: the textbook standard error of a mean."""
    values = np.random.default_rng(0).normal(3, 1, 500)
    mean, stderr = losses.mean_and_stderr(values, np.ones(500, int))
    assert mean == pytest.approx(values.mean())
    assert stderr == pytest.approx(values.std(ddof=1) / math.sqrt(500))


def test_standard_error_sees_that_tokens_of_a_document_are_alike():
    """Repeating every document's tokens adds no information, and must not shrink the error."""
    values = np.random.default_rng(1).normal(3, 1, 200)
    once = losses.mean_and_stderr(values, np.ones(200, int))
    tenfold = losses.mean_and_stderr(values * 10, np.full(200, 10))
    assert tenfold == pytest.approx(once)


def test_one_document_has_no_standard_error():
    assert math.isnan(losses.mean_and_stderr(np.array([5.0]), np.array([2]))[1])


def test_role_is_the_mean_over_its_windows_and_val_follows_the_shares():
    scores = {
        "domain/a": score([[1.0, 1.0]] * 3, [[0, 1]] * 3),
        "domain/b": score([[4.0, 4.0]], [[0, 1]]),
        "general/c": score([[2.0, 2.0]], [[0, 1]]),
    }
    row = losses.rows(scores, {"domain/a": 0.5, "domain/b": 0.2, "general/c": 0.3})
    assert row["eval/domain/loss"] == pytest.approx((3 * 1 + 4) / 4)
    assert row["eval/domain/a/loss"] == 1 and row["eval/general/loss"] == 2
    assert row["eval/val/loss"] == pytest.approx(0.5 * 1 + 0.2 * 4 + 0.3 * 2)
    assert row["eval/domain/a/perplexity"] == pytest.approx(math.e)


def test_bits_per_byte_leaves_out_tokens_that_are_not_text():
    """ln 2 nats per token, two bytes each; the EOT (no bytes) does not count."""
    nll = [[math.log(2), math.log(2), 9.0]]
    found = score(nll, [[0, 0, 0]], np.array([[2, 2, 0]]))
    row = losses.rows({"general/c": found}, {})
    assert row["eval/general/bits_per_byte"] == pytest.approx(0.5)


def test_paired_difference_is_sharper_than_the_losses_apart(tmp_path):
    rng = np.random.default_rng(2)
    difficulty = rng.normal(3, 1, (400, 1)) * np.ones((1, 4))
    docs = np.arange(400)[:, None] * np.ones((1, 4), int)
    a, b = difficulty, difficulty + 0.05 + rng.normal(0, 0.02, difficulty.shape)
    for name, nll in (("a", a), ("b", b)):
        losses.save(tmp_path / f"{name}.npz", {"general/c": score(nll, docs)})
    nats, stderr = losses.paired_difference(tmp_path / "b.npz", tmp_path / "a.npz", "general")
    assert nats == pytest.approx(0.05, abs=0.005) and stderr < 0.001
    assert losses.mean_and_stderr(a.sum(1), np.full(400, 4))[1] > 0.04


def test_other_windows_are_not_compared(tmp_path):
    losses.save(tmp_path / "a.npz", {"general/c": score([[1, 1]], [[0, 1]])})
    losses.save(tmp_path / "b.npz", {"general/c": score([[1, 1]], [[0, 2]])})
    assert losses.paired_difference(tmp_path / "a.npz", tmp_path / "b.npz", "general") is None
