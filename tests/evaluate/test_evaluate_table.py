"""mypt evaluate: its table and its JSON, of a run that is stood in for."""

import dataclasses
import json
import sys

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

        def score_tasks(self, data, *, most):
            assert most == self.wanted
            one = losses.score_of({"nll": np.zeros((1, 4))}, np.zeros((1, 4), int), np.ones((1, 4)))
            return {data: {"choice": dataclasses.replace(one, sums={"right": one.tokens_D})}}

        def score_data(self, data, *, windows):
            nll_WL = np.full((2, 4), 800.0)
            return {data: losses.score_of({"nll": nll_WL}, np.zeros((2, 4), int), nll_WL > 0)}

    monkeypatch.setattr(scorer, "Scorer", Lost)
    monkeypatch.setattr(Lost, "wanted", 200, raising=False)
    monkeypatch.setattr(fetch, "check_run", lambda spec: None)
    return ["--run=runs/lost", "--data", "text"]


def test_what_no_float_holds_is_a_dash_and_null(lost, capsys):
    assert command.main(lost) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| text | 800.0000 | - | - | 1154.1560 | 8 |"
    assert command.main([*lost, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]["text"]
    assert found["loss"] == 800.0 and found["perplexity"] is None


@pytest.mark.parametrize(("given", "wanted"), [([], 200), (["--windows=3"], 3)])
def test_as_many_questions_are_asked_as_is_said(lost, capsys, monkeypatch, given, wanted):
    monkeypatch.setattr(scorer.Scorer, "wanted", wanted)
    assert command.main([*lost, "--tasks", *given]) == 0


def test_0_windows_are_all_also_of_questions(lost, capsys, monkeypatch):
    monkeypatch.setattr(scorer.Scorer, "wanted", sys.maxsize)
    assert command.main([*lost, "--tasks", "--windows=0"]) == 0
