"""A comparison of recipes whose runs and measurements are made up."""

import numpy as np
import pytest

from data_pipeline.batches import eval_windows
from mypt_jax.frontier import comparison, recipes, training
from mypt_jax.runs import evaluations

REPORT = eval_windows.REPORT
DOCUMENTS = 12


class Points:
    """Parameters are {"x": share of the way, "at": (select, report) general loss of the end}."""

    def __init__(self, ends):
        self._ends = ends
        self.base = {"x": np.zeros(1), "run": np.zeros(1)}

    def _seen(self, params, half):
        share, run = float(params["x"][0]), int(np.ceil(params["run"][0]))
        general = 2 + share * (self._ends[run][half] if run else 0)
        return evaluations.Evaluation(
            {
                f"{role}/text": evaluations.Source(
                    sums={"nll": np.full(DOCUMENTS, loss), "drift": np.full(DOCUMENTS, 0.1)},
                    tokens_D=np.ones(DOCUMENTS, int),
                    doc_D=np.arange(DOCUMENTS),
                    loss_W=np.zeros(1),
                    fingerprint="",
                )
                for role, loss in (("domain", 3 - share), ("general", general))
            }
        )

    def selected(self, params):
        return self._seen(params, 0)

    def reported(self, params):
        return self._seen(params, 1)


def test_the_best_cross_entropy_is_chosen_on_the_half_that_is_chosen_on(monkeypatch):
    """By figures of the other half the luckier one was, which they then were shown against."""
    ends = {1: (0.9, 0.9), 2: (0.5, 0.4), 3: (0.4, 0.5)}  # chain, ce, ce-10: select, report
    table = {name: recipes.RECIPES[name] for name in ("chain", "ce", "ce-10")}
    trained = {name: number for number, name in enumerate(table, 1)}

    def params(runs):
        return {"x": np.ones(1), "run": np.full(1, trained[runs[0].split("/")[2]])}

    monkeypatch.setattr(comparison, "_params", params)
    monkeypatch.setattr(comparison, "_flops", lambda path: 1.0)
    monkeypatch.setattr(comparison, "_sampling_flops", lambda path: 0.0)
    plan = training.Plan("runs/tiny/base", "tiny", "out", ())
    tried = [
        training.candidate(plan, name, one, rate=1.0, seed=1, samples="")
        for name, one in table.items()
    ]
    found = comparison.rows(Points(ends), table, tried, tried, against="chain", say=print)
    rows = {(row.recipe, row.form): row for row in found}
    assert comparison.BEST_CE not in rows["ce-10", "line"].less
    assert rows["ce", "line"].less[comparison.BEST_CE].value == pytest.approx(20)
