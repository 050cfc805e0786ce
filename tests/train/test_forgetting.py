"""What forgetting is measured over: the windows that both runs evaluated."""

import numpy as np
import pytest

from mypt_jax.evaluate import losses
from mypt_jax.runs import layout
from mypt_jax.train import forgetting


def score(loss: float, documents: list[int]) -> losses.Score:
    nll = np.full((len(documents), 4), loss)
    docs = np.repeat(np.array(documents)[:, None], 4, axis=1)
    return losses.score_of({"nll": nll}, docs, np.ones_like(docs))


def against(tmp_path, scores: dict):
    """_against for a run that measured `scores`, a base with two sources at 2.0 and 3.0."""
    base = {"general/a": score(2.0, [0, 1, 2]), "general/b": score(3.0, [0, 1, 2])}
    losses.save(layout.eval_file(str(tmp_path / "base"), 10), base)
    losses.save(str(tmp_path / "own.npz"), scores)
    ancestor = {
        "path": str(tmp_path / "base"),
        "step": 10,
        "eval": {"general/a": 2.0, "general/b": 3.0},
    }
    row = losses.rows(scores, {})
    return forgetting._against(ancestor, row, scores, str(tmp_path / "own.npz"))


def test_a_source_measured_on_other_windows_says_nothing(tmp_path):
    """Its documents differ by more than a stage forgets."""
    own = {"general/a": score(2.5, [0, 1, 2]), "general/b": score(9.0, [0, 1, 5])}
    theirs, mine, _ = against(tmp_path, own)
    assert (theirs, mine) == pytest.approx((2.0, 2.5))


def test_nothing_in_common_is_no_figure(tmp_path):
    own = {"general/a": score(2.5, [7, 8]), "general/c": score(2.5, [0, 1, 2])}
    assert against(tmp_path, own) is None
