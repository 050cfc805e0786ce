"""What may be compared: the same windows of the same text, and nothing else."""

import math

import numpy as np
import pytest

from mypt_jax.runs import comparison
from mypt_jax.runs.comparison import Difference, Refusal
from mypt_jax.runs.evaluations import Evaluation, Source


def source(loss_D, text="a", *, doc_D=None, tokens=4) -> Source:
    """Documents with these losses; with text "" as in files from before there was a fingerprint."""
    loss_D = np.asarray(loss_D, float)
    return Source(
        sums={"nll": tokens * loss_D},
        tokens_D=np.full(len(loss_D), tokens),
        doc_D=np.arange(len(loss_D)) if doc_D is None else np.asarray(doc_D),
        loss_W=loss_D,
        fingerprint=text.encode().hex(),
    )


def evaluation(**sources) -> Evaluation:
    """general__wiki=... is the source general/wiki."""
    return Evaluation({key.replace("__", "/"): one for key, one in sources.items()})


def test_a_difference_is_sharper_than_the_losses_apart():
    """Documents differ far more than the two models do on each of them."""
    rng = np.random.default_rng(2)
    difficulty = rng.normal(3, 1, 400)
    other = evaluation(general__c=source(difficulty))
    own = evaluation(general__c=source(difficulty + 0.05 + rng.normal(0, 0.02, 400)))
    found = comparison.compare(own, other, "general")
    assert found.nats == pytest.approx(0.05, abs=0.005) and found.stderr < 0.002
    assert comparison.compare(own, own, "general").nats == 0


def test_of_one_document_the_error_is_not_known():
    found = comparison.compare(*2 * [evaluation(general__c=source([2.0]))], "general")
    assert math.isnan(found.stderr)


def test_other_windows_leave_a_source_out_and_are_named():
    own = evaluation(general__a=source([2.5, 2.5]), general__b=source([9.0], "x"))
    other = evaluation(general__a=source([2.0, 2.0]), general__b=source([3.0], "y"))
    found = comparison.compare(own, other, "general")
    assert (found.start, found.final, found.sources) == (2.0, 2.5, ("general/a",))
    assert found.left_out == {"general/b": "other windows: general/b, not the same text"}
    assert comparison.why_apart(own, other, "general").startswith("other windows")
    alone = comparison.compare(own, other, "general/b")
    assert isinstance(alone, Refusal) and alone.word == comparison.OTHER


def test_nothing_in_common_is_no_figure():
    own = evaluation(general__a=source([2.5, 2.5], "x"), general__c=source([1.0], "y"))
    other = evaluation(general__a=source([2.0]))
    found = comparison.compare(own, other, "general")
    assert found.reason == (
        "other windows: general/a, 2, not 1; other windows: general/c was not evaluated there"
    )
    unknown = comparison.compare(own, Evaluation({}, fault="e.npz is not there"), "general")
    assert unknown == Refusal("not measured: e.npz is not there")
    assert comparison.compare(own, other, "domain").word == comparison.UNKNOWN


def test_a_source_is_known_by_its_text_whatever_it_is_called():
    """A domain that was only evaluated before it was trained on, a dataset that was renamed."""
    own = evaluation(domain__law=source([1.0, 3.0], "laws", doc_D=[5, 9]))
    other = evaluation(extra__domain__x=source([2.0, 4.0], "laws"), domain__law=source([9.0], "no"))
    assert comparison.compare(own, other, "domain").nats == -1.0


def test_a_role_as_a_whole_is_of_its_own_sources():
    """Text that another run has in another role is compared, but not a part of the mean."""
    one = evaluation(domain__a=source([2.0], "a"), domain__b=source([3.0], "b"))
    other = evaluation(domain__a=source([1.0], "a"), general__b=source([2.0], "b"))
    assert comparison.compare(one, other, "domain").nats == 1.0
    assert comparison.why_apart(one, other, "domain").startswith(comparison.OTHER)


def test_older_files_are_known_by_their_documents():
    own = evaluation(general__a=source([2.5, 2.5], "a"))
    assert comparison.compare(own, evaluation(general__a=source([2.0, 2.0], "")), "general").nats
    for other in (source([2.0, 2.0], "", doc_D=[0, 5]), source([2.0, 2.0], "", tokens=5)):
        assert isinstance(comparison.compare(own, evaluation(general__a=other), "general"), Refusal)


def test_a_mixture_is_compared_by_its_shares():
    own = evaluation(domain__a=source([1.0, 1.0]), general__b=source([3.0], "b"))
    other = evaluation(domain__a=source([2.0, 2.0]), general__b=source([4.0], "b"))
    found = comparison.compare(own, other, "val", shares={"domain/a": 0.25, "general/b": 0.75})
    assert (found.start, found.final) == (3.5, 2.5)


def test_a_loss_that_is_not_finite_is_not_compared():
    own, other = evaluation(general__a=source([math.nan])), evaluation(general__a=source([1.0]))
    assert comparison.compare(own, other, "general").word == comparison.UNKNOWN


def test_alike_is_with_all_of_a_group():
    """What an older file says may fit two that differ."""
    texts = ("a", "", "b", "a")
    found = [evaluation(general__a=source([2.0], text)) for text in texts]
    assert comparison.alike(found, "general") == [[0, 1, 3], [2]]
    assert comparison.alike([found[1], found[0], found[2]], "general") == [[0, 1], [2]]


def test_a_baseline_takes_of_every_source_the_first_that_saw_its_windows():
    own = evaluation(domain__d=source([5.0], "d"), general__g=source([3.0], "g"))
    base = evaluation(general__g=source([2.0], "other"))
    first = evaluation(domain__d=source([6.0], "d"), general__g=source([2.5], "g"))
    late = evaluation(domain__d=source([7.0], "d"))
    found, origin = comparison.baseline(own, [("base", base), ("v3", first), ("v5", late)])
    assert origin == {"domain/d": "v3", "general/g": "v3"} and not found.absent
    assert comparison.compare(own, found, "general").nats == 0.5
    none, _ = comparison.baseline(own, [("base", base)])
    assert comparison.compare(own, none, "general").word == comparison.OTHER
    assert comparison.compare(own, none, "domain").word == comparison.UNKNOWN
    assert not isinstance(comparison.compare(own, none, "domain"), Difference)
