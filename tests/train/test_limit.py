"""objective.max_forgetting: a weight that follows a budget, and an end that holds it."""

import json

import numpy as np
import pytest
from conftest import SMALL, train
from hypothesis import given
from hypothesis import strategies as st

from mypt_jax.runs import evaluations, layout
from mypt_jax.train.forgetting import limit

BUDGET = 0.01  # nats/token of drift, which a base that still learns has as well
LIMITED = {
    "objective.replay": "kl",
    "objective.max_forgetting": BUDGET,
    "objective.limit_on": "drift",
    "eval.drift": "always",
    "optim.peak_lr": 0.02,
    "log.every_steps": 1,
    "eval.every_steps": 2,
    "num_steps": 6,
}


def controller(num_steps=20, budget=0.01, rate=0.0):
    wanted = {"max_forgetting": budget, "limit_on": "general", "replay_weight": 3.0}
    config = {"objective": wanted, "num_steps": num_steps, "optim": {"peak_lr": 1e-3}}
    return limit.Limit(config, lambda step: np.float32(rate))


def row(forgetting):
    return {"forgetting/base_loss": 5.0, "forgetting/nats": 5.0 * forgetting}


@given(st.lists(st.floats(1e-4, 1), min_size=20, max_size=20), st.sets(st.integers(1, 19)))
def test_a_weight_does_not_depend_on_where_figures_were_read_at_once(divergences, stops):
    """The loop reads the figures of update n while n + 1 runs; at a stop it reads them at once, and
    goes on from what it saved."""

    def weights(stops):
        own, found, unread = controller(), [], None
        for update, divergence in enumerate(divergences, 1):
            found.append(float(own.weight(update)))
            if unread:
                own.after_step(*unread)
            unread = update, {"kl/replay": divergence}
            if update in stops or update % 5 == 0:
                own.after_step(*unread)
                unread = None
                saved = own.state()
                own = controller()
                own.restore(saved)
                if update % 5 == 0:
                    own.at_row(row(0.02))
        return found

    assert weights(stops) == weights(set())


def test_the_weight_rises_over_the_budget_and_falls_below_it():
    for forgetting, is_over in ((0.02, True), (0.005, False)):
        own = controller()
        own.after_step(1, {"kl/replay": 0.1})
        assert own.weight(3) == 3  # nothing was evaluated yet
        own.at_row(row(forgetting))
        found = []
        for update in range(2, 12):
            own.after_step(update, {"kl/replay": 0.1})
            found.append(float(own.weight(update + 2)))
        assert found == sorted(found, reverse=not is_over) and (found[-1] > 3) == is_over
    off = controller(budget=0.0)
    off.after_step(1, {"kl/replay": 9.0})
    off.at_row(row(0.5))
    assert off.weight(5) == 3 and off.state() == {}


def test_at_a_high_rate_more_is_aimed_at_since_it_goes_as_the_rate_falls():
    found = []
    for rate in (0.0, 1e-3):
        own = controller(rate=rate)
        own.after_step(1, {"kl/replay": 0.1})
        own.at_row(row(0.015))
        own.after_step(2, {"kl/replay": 0.1})
        found.append(float(own.weight(4)))
    assert found[0] > 3 > found[1]


def test_the_weight_has_an_end_beyond_which_the_line_is_cheaper():
    """It went to 35,800 where a high rate overran its budget: a third of the domain was lost."""
    own = controller(num_steps=1000)
    own.after_step(1, {"kl/replay": 0.1})
    own.at_row(row(0.5))
    for update in range(2, 900):
        own.after_step(update, {"kl/replay": 0.1})
    assert own.weight(901) == 12


@given(st.floats(0.001, 2))
def test_the_line_is_held_at_the_furthest_point_inside(budget):
    base, trained = {"w": np.zeros(3, np.float32)}, {"w": np.ones(3, np.float32)}
    params, share, found = limit.hold(trained, base, lambda p: float(p["w"][0]), budget)
    assert found <= budget and share == pytest.approx(min(1, budget), abs=2e-3)
    np.testing.assert_allclose(params["w"], share, rtol=1e-6)
    nothing = limit.hold(trained, base, lambda p: 9.0, budget)
    assert nothing[0] is base and nothing[1:] == (0.0, 0.0)


@pytest.fixture(scope="module")
def limited(datasets, compile_cache, tmp_path_factory):
    """(directory of a finished stage with a limit, its overrides)."""
    root = tmp_path_factory.mktemp("limited")
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
    }
    assert train("base", {**overrides, "workdir": root / "base"}).returncode == 0
    overrides |= {**LIMITED, "init_from": root / "base"}
    end = train("v3", {**overrides, "workdir": root / "v3"})
    assert end.returncode == 0, end.stderr
    assert "limit on drift 0.01" in end.stdout
    return root / "v3", overrides


def test_the_limit_holds_where_it_was_chosen_and_is_told(limited):
    path, _ = limited
    held = layout.record(path)["limit"]
    rows = {one["step"]: one for one in layout.metrics(path)}
    last = rows[6]
    drift = last["eval/general/drift"]
    assert drift <= BUDGET and held["found"] == pytest.approx(drift, rel=1e-4)
    assert 0 < held["share"] < 1, "a rate this high overruns the budget"
    assert "report/forgetting/percent" in last
    weights = [rows[step]["replay_weight"] for step in range(1, 7)]
    assert weights[:4] == [3.0] * 4 and 3 < weights[4] <= weights[5] <= 12
    own = evaluations.read(layout.eval_file(path, 6))
    assert own.mean("general") == pytest.approx(last["eval/general/loss"])


@pytest.mark.full  # six starts; the property of the weight is above
def test_a_run_with_a_limit_that_was_stopped_is_the_same(limited, tmp_path):
    path, overrides = limited
    stopped = {**overrides, "workdir": tmp_path / "v3", "time_budget_secs": 0.001}
    while (end := train("v3", stopped)).returncode == 75:
        pass
    assert end.returncode == 0, end.stderr
    digests = [layout.finished(where)["params_sha256"] for where in (path, tmp_path / "v3")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"objective.replay": "ce"}, "set objective.replay=kl"),
        ({"objective.teacher": "parent"}, "set objective.teacher=base"),
        ({"objective.replay_weight": 0}, "give it a start"),
        ({"eval.drift": "end"}, "set eval.drift=always"),
        ({"objective.max_forgetting": -1}, "objective.max_forgetting"),
        ({"objective.max_forgetting": 0}, "leave it out for no limit"),
    ],
)
def test_a_limit_that_nothing_would_hold_is_refused(limited, tmp_path, changes, said):
    _, overrides = limited
    end = train("v3", {**overrides, **changes, "workdir": tmp_path / "v3"})
    assert end.returncode == 2 and said in end.stderr.splitlines()[-1], end.stderr
    assert not (tmp_path / "v3").exists()


def test_a_limit_is_told_also_where_one_document_is_kept_for_the_report(tmp_path):
    """Which has no standard error; a row of metrics.jsonl has null in its place."""
    row = {"step": 4, "report/forgetting/percent": 1.5, "report/forgetting/nats": 0.07}
    (tmp_path / layout.METRICS).write_text(json.dumps(row | {"report/forgetting/stderr": None}))
    held = {"budget": 0.02, "on": "general", "found": 0.01, "share": 0.5, "weight": 1.0}
    said = limit.line(str(tmp_path), 4, {limit.NAME: held})
    assert ", general +1.50 % (+0.0700) on the other half; 0.500 of the way" in said
