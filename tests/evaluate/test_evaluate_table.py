"""mypt evaluate: its table and its JSON, of a run that is stood in for."""

import json

import numpy as np
import pytest

from mypt_jax.evaluate import command, losses, scorer
from mypt_jax.storage import fetch


@pytest.fixture
def lost(monkeypatch):
    """A model so far off that no float holds its perplexity, as a sum of runs can be."""

    class Lost:
        path, step, notes = "runs/lost", 0, ()

        def __init__(self, spec, *, batch_size):
            pass

        def score_data(self, data, *, windows):
            nll_WL = np.full((2, 4), 800.0)
            return {data: losses.score_of({"nll": nll_WL}, np.zeros((2, 4), int), nll_WL > 0)}

    monkeypatch.setattr(scorer, "Scorer", Lost)
    monkeypatch.setattr(fetch, "check_run", lambda spec: None)
    return ["--run=runs/lost", "--data", "text"]


def test_what_no_float_holds_is_a_dash_and_null(lost, capsys):
    assert command.main(lost) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| text | 800.0000 | - | - | 1154.1560 | 8 |"
    assert command.main([*lost, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]["text"]
    assert found["loss"] == 800.0 and found["perplexity"] is None
