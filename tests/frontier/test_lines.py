"""Places on a line at one domain loss, and intervals over seeds and documents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mypt_jax.frontier import intervals, lines
from mypt_jax.runs import evaluations

LOSSES = st.lists(st.floats(1, 9), min_size=5, max_size=5, unique=True)


@given(LOSSES, LOSSES, st.floats(0, 0.999))
def test_a_place_at_a_domain_loss_is_on_the_line(domain, general, part):
    domain = sorted(domain, reverse=True)
    line = [lines.Place(*one) for one in zip(lines.SHARES, domain, general, strict=True)]
    target = domain[0] + part * (domain[-1] - domain[0])
    place = lines.at_domain_loss(line, target)
    assert place is not None
    assert place.domain == pytest.approx(target)
    assert lines.SHARES[0] <= place.share <= 1
    assert min(general) - 1e-9 <= place.general <= max(general) + 1e-9
    assert lines.at_domain_loss(line, domain[-1] - 0.1) is None
    assert lines.general_at(line, domain[-1] - 0.1) == float("inf")


def evaluation(nll_D, tokens_D):
    nll_D, tokens_D = np.asarray(nll_D, float), np.asarray(tokens_D)
    return evaluations.Evaluation(
        {
            "general/x": evaluations.Source(
                sums={"nll": nll_D},
                tokens_D=tokens_D,
                doc_D=np.arange(len(tokens_D)),
                loss_W=np.zeros(1),
                fingerprint="",
            )
        }
    )


def test_what_two_recipes_share_falls_out_of_their_difference():
    rng = np.random.default_rng(0)
    tokens = rng.integers(50, 500, 30)
    base = rng.random(30) * tokens
    hard = rng.random(30) * tokens  # of each document, the same for both recipes
    one = [evaluation(base + hard, tokens) for _ in range(3)]
    half = [evaluation(base + hard / 2, tokens) for _ in range(3)]
    draw = intervals.Resamples(evaluation(base, tokens), 3)
    changes = draw.change(one, "general"), draw.change(half, "general")
    assert intervals.interval(changes[0]).low < intervals.interval(changes[0]).value
    assert intervals.less(changes[1], changes[0]) == pytest.approx((50, 50, 50))
    # What fell, or may have: there is nothing to have less of.
    assert intervals.less(changes[1], -changes[0]) is None
    assert intervals.less(changes[1], changes[0] - changes[0][0]) is None


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held, rounds = 0, 200
    for _ in range(rounds):
        tokens = rng.integers(100, 200, 25)
        base = np.zeros(25)
        runs = [evaluation((1 + rng.normal(0, 0.3, 25)) * tokens, tokens)]
        found = intervals.interval(
            intervals.Resamples(evaluation(base, tokens), 1).change(runs, "general")
        )
        held += found.low <= 1 <= found.high
    assert 0.85 < held / rounds <= 1


def test_a_recipe_with_fewer_seeds_has_them_drawn_evenly():
    """The first of two was drawn twice as often, beside recipes with three."""
    tokens = np.full(20, 100)
    runs = [evaluation(tokens * loss, tokens) for loss in (1.0, 2.0)]
    found = intervals.Resamples(evaluation(tokens * 0.0, tokens), 3).change(runs, "general")
    assert found[0] == pytest.approx(1.5)
    assert found[1:].mean() == pytest.approx(1.5, abs=0.03)
