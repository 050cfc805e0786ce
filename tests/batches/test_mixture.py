"""Shares are exact: every prefix within one window, whatever the weights."""

import json
from fractions import Fraction

import pytest
from conftest import build_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import errors
from data_pipeline.batches import mixture, source_order
from data_pipeline.prepare import mix


def build(**overrides):
    arguments = {
        "domain": (),
        "general": (),
        "domain_weights": (),
        "general_weights": (),
        "replay_ratio": 0.3,
    }
    return mixture.build(**(arguments | overrides))


@given(weights=st.lists(st.integers(1, 10**6), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_every_prefix_is_within_one_window(weights):
    whole = sum(weights)
    order = source_order.Schedule([Fraction(weight, whole) for weight in weights])
    drawn = [0] * len(weights)
    for n in range(1, 400):
        source, before = order[n - 1]
        assert before == drawn[source]
        drawn[source] += 1
        for count, weight in zip(drawn, weights, strict=True):
            assert abs(count * whole - n * weight) < whole
    assert order.counts(399) == drawn


@pytest.mark.parametrize(("weights", "period"), [((7, 3), 10), ((50, 40, 3, 2, 5), 100)])
def test_every_run_of_one_period_has_exactly_the_weights(weights, period):
    order = source_order.Schedule([Fraction(weight, period) for weight in weights])
    sources = [order[k][0] for k in range(5 * period)]
    for start in range(4 * period):
        run = sources[start : start + period]
        assert [run.count(i) for i in range(len(weights))] == list(weights)


def _by_the_rule(weights: list[int], count: int) -> list[int]:
    """Tijdeman's rule as it is stated, one window after another."""
    whole, slack, drawn, found = (
        sum(weights),
        max(1, 2 * (len(weights) - 1)),
        [0] * len(weights),
        [],
    )
    for n in range(1, count + 1):
        urgency = {
            i: Fraction(slack - 1 + slack * x, w)
            for i, (w, x) in enumerate(zip(weights, drawn, strict=True))
            if slack * (w * n - whole * x) >= whole
        }
        found.append(min(urgency, key=urgency.__getitem__))
        drawn[found[-1]] += 1
    return found


@given(weights=st.lists(st.integers(1, 10**6), min_size=2, max_size=30), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_is_the_rules_from_wherever_it_is_read(weights, data):
    whole, count = sum(weights), 300
    shares = [Fraction(weight, whole) for weight in weights]
    wanted = _by_the_rule(weights, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_order, "_CHUNK", 16)
        patch.setattr(source_order, "_KEPT_CHUNKS", 2)
        order = source_order.Schedule(shares)
        for n in data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=8)):
            n %= order.period
            assert order[n] == (wanted[n], wanted[:n].count(wanted[n]))
            assert order.counts(n) == [wanted[:n].count(i) for i in range(len(weights))]


def test_a_far_window_is_found_without_those_before_it(monkeypatch):
    shares = [Fraction(2 * i + 1_000_003, 200 * 1_000_003 + 199 * 200) for i in range(200)]
    order = source_order.Schedule(shares)
    drawn = []
    one = order._rule.order
    monkeypatch.setattr(
        order._rule, "order", lambda n, x, count: drawn.append(count) or one(n, x, count)
    )
    far = 10**8
    source, before = order[far]
    assert abs(before - far * shares[source]) < 1
    assert sum(drawn) < 500_000


def test_shares_of_the_roles(datasets):
    made = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=0.3)
    by_role = {
        role: sum(c.share for c in made.components if c.role == role) for role in mixture.ROLES
    }
    assert by_role == {"domain": Fraction(7, 10), "general": Fraction(3, 10)}
    assert [c.key for c in made.components] == [
        "domain/laws",
        "domain/manuals",
        "general/encyclopedia",
    ]
    tokens = {c.key: c.data.tokens["train"] for c in made.components}
    laws = tokens["domain/laws"] / (tokens["domain/laws"] + tokens["domain/manuals"])
    assert float(made.components[0].share) == pytest.approx(0.7 * laws, abs=1e-4)


@pytest.mark.parametrize(("ratio", "role"), [(0, "domain"), (1.0, "general"), ("0", "domain")])
def test_a_role_without_share_is_still_listed(datasets, ratio, role):
    made = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=ratio)
    assert len(made.components) == 3
    assert {c.role for c in made.components if c.share} == {role}


def test_weights_belong_to_directories(datasets, tmp_path):
    other = build_dataset(tmp_path / "other", {"extra": 110}, seed=5)
    made = build(
        domain=(datasets["domain"], str(other)),
        general=(datasets["general"],),
        domain_weights=(0.9, 0.1),
        replay_ratio=0.2,
    )
    shares = {c.key: c.share for c in made.components}
    assert shares["domain/extra"] == Fraction(8, 100)
    assert shares["domain/laws"] + shares["domain/manuals"] == Fraction(72, 100)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"replay_ratio": 1.5}, "replay_ratio"),
        ({"replay_ratio": "nan"}, "nan"),
        ({"replay_ratio": "1e-999999999"}, "digits are wanted"),
        ({"general_weights": ("1e999999999",)}, "digits are wanted"),
        ({"replay_ratio": 0.1234567}, "6 decimals"),
        ({"replay_ratio": 0.1 + 0.2}, "6 decimals"),
        ({"domain_weights": (1, 2)}, "2 numbers"),
        ({"domain_weights": (0,)}, "positive"),
        ({"domain_weights": (-1,)}, "negative"),
        ({"general": ()}, "general"),
        ({"domain": ("/nowhere",)}, "/nowhere"),
    ],
)
def test_bad_mixtures_are_user_errors(datasets, overrides, said):
    good = {"domain": (datasets["domain"],), "general": (datasets["general"],)}
    with pytest.raises(errors.UserError, match=said):
        build(**(good | overrides))


def test_mixed_tokenizers(datasets, tmp_path):
    other = build_dataset(tmp_path / "other", {"extra": 110})
    path = other / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["tokenizer"]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(errors.UserError, match="--tokenizer"):
        build(domain=(datasets["domain"],), general=(str(other),))


def test_two_sources_of_one_name(datasets):
    with pytest.raises(errors.UserError, match="both have a source"):
        build(domain=(datasets["domain"], datasets["domain"]), replay_ratio=0)


@given(tokens=st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_shares_by_tokens_are_bounded_fractions(tokens):
    if not sum(tokens):
        return
    shares = mixture._by_tokens(tokens, "domain", ["x"])
    assert sum(shares) == 1
    for share, count in zip(shares, tokens, strict=True):
        assert (share > 0) == (count > 0)
        assert share.denominator <= 10_000
        # One part of rounding, and one for each tiny source that had to be lent to.
        assert abs(share - Fraction(count, sum(tokens))) <= Fraction(len(tokens), 10_000)


def test_exact_overlap_is_found(datasets, tmp_path):
    made = build(domain=(datasets["domain"],), general=(datasets["general"],))
    assert mixture.overlap(made.components) == []
    mixture.check_overlap(made.components)
    # The same documents split another way: some of the one's train are the other's val.
    other = build_dataset(tmp_path / "other", {"laws": 110}, val_fraction=0.6)
    both = [*made.components, *mixture.components_of("general", [str(other)])]
    found = mixture.overlap(both)
    assert [(one.train_key, one.val_key) for one in found] == [("domain/laws", "general/laws")]
    with pytest.raises(errors.UserError, match="--exclude_dir"):
        mixture.check_overlap(both)


def test_a_view_opens_as_the_same_mixture(datasets, tmp_path):
    made = mix.write_view(
        tmp_path / "mixed",
        domain=[datasets["domain"]],
        general=[datasets["general"]],
        general_weights=[],
        replay_ratio=Fraction(1, 5),
        recorded={},
    )
    direct = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=0.2)
    assert made.fingerprint == direct.fingerprint
    assert made.replay_ratio == Fraction(1, 5)
    assert sorted(path.name for path in (tmp_path / "mixed").iterdir()) == ["mixture.json"]


def test_a_view_of_changed_data_is_refused(tmp_path):
    domain = build_dataset(tmp_path / "domain", {"laws": 110})
    general = build_dataset(tmp_path / "general", {"news": 110})
    mix.write_view(
        tmp_path / "mixed",
        domain=[domain],
        general=[general],
        general_weights=[],
        replay_ratio=Fraction(1, 5),
        recorded={},
    )
    for path in sorted(domain.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    domain.rmdir()
    build_dataset(domain, {"laws": 111})
    with pytest.raises(errors.UserError, match="mix again"):
        mixture.from_manifest(tmp_path / "mixed")


def test_materialized_shards_have_the_ratio_to_the_token(datasets, tmp_path):
    made = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=0.2)
    tokens = mix.materialize(
        tmp_path / "mixed",
        made,
        seed=1,
        tokens_per_shard=10_000,
        include_replay_val=True,
        layout="mypt_jax",
        recorded={},
    )
    domain = tokens["laws"] + tokens["manuals"]
    assert abs(tokens["replay_encyclopedia"] - domain * Fraction(1, 4)) <= Fraction(1, 2)
    from data_pipeline.tokens import shards, verification

    opened = shards.open_dataset(tmp_path / "mixed")
    verification.verify(opened)
    assert opened.sources["replay_encyclopedia"].tokens["val"] > 0


def test_a_mixture_of_a_mixture_loses_no_source(datasets, tmp_path):
    """The new replay would take the place, and the name, of the old one."""
    settings = dict(
        seed=1, tokens_per_shard=10_000, include_replay_val=False, layout="mypt_jax", recorded={}
    )
    made = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=0.1)
    mix.materialize(tmp_path / "once", made, **settings)
    again = build(
        domain=(str(tmp_path / "once"),), general=(datasets["general"],), replay_ratio=0.1
    )
    with pytest.raises(errors.UserError, match="a source replay_encyclopedia already"):
        mix.materialize(tmp_path / "twice", again, **settings)
    assert not (tmp_path / "twice").exists()


def test_materializing_more_replay_than_there_is(datasets, tmp_path):
    made = build(domain=(datasets["domain"],), general=(datasets["general"],), replay_ratio=0.9)
    with pytest.raises(errors.UserError, match="missing"):
        mix.materialize(
            tmp_path / "mixed",
            made,
            seed=1,
            tokens_per_shard=10_000,
            include_replay_val=False,
            layout="mypt_jax",
            recorded={},
        )
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("role", ["domain", "general"])
@pytest.mark.parametrize(
    "settings", [{"command": "sample"}, {"command": "x", "answers": {"after": [5, 6], "end": 7}}]
)
def test_a_models_own_words_are_not_copied_among_other_text(role, settings, tmp_path):
    """Neither that a model wrote them nor where its answers stand would be known any more."""
    from data_pipeline import atomic
    from data_pipeline.tokens import shards

    for name, source in (("domain", "laws"), ("general", "encyclopedia")):
        build_dataset(tmp_path / name, {source: 40})
    manifest = shards.read_manifest(tmp_path / role)
    atomic.write_json(tmp_path / role / shards.MANIFEST, manifest | {"settings": [settings]})
    made = build(
        domain=(str(tmp_path / "domain"),), general=(str(tmp_path / "general"),), replay_ratio=0.2
    )
    how = dict(tokens_per_shard=10_000, include_replay_val=False, layout="mypt_jax", recorded={})
    with pytest.raises(
        errors.UserError, match=f"{role} has a model's own words .* evaluated apart"
    ):
        mix.materialize(tmp_path / "mixed", made, seed=1, **how)
    assert not (tmp_path / "mixed").exists()
