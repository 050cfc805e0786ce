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
