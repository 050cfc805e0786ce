"""No window of a source comes twice before all came once, over any chain of runs."""

import numpy as np
import pytest
from conftest import build_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.batches import loader, mixture
from data_pipeline.batches.window_order import FROM_THE_START, Segment, WindowOrder
from mypt_jax.runs import drawn, lineage

SEEDS = st.integers(0, 3)
CHAINS = st.lists(st.tuples(SEEDS, st.sampled_from(["general/a", "domain/b"]), st.integers(0, 40)))


def drawn_by(per_epoch, past, segment):
    order = WindowOrder(per_epoch, past=past, identity=segment.identity)
    return [order[n] for n in range(segment.windows)]


@given(st.integers(1, 17), CHAINS)
def test_every_epoch_of_a_chain_has_every_window_once(per_epoch, chain):
    past, all_drawn = [], []
    for seed, key, windows in chain:
        segment = Segment(seed, key, windows)
        all_drawn += drawn_by(per_epoch, past, segment)
        past.append(segment)
    for start in range(0, len(all_drawn), per_epoch):
        epoch = all_drawn[start : start + per_epoch]
        numbers = [number for _, number in epoch]
        assert len(set(numbers)) == len(numbers)
        assert len({cut for cut, _ in epoch}) == 1, "an epoch is cut in one way"
    assert WindowOrder(per_epoch, past=past, identity="x").first == len(all_drawn)


@given(st.integers(1, 17), CHAINS, SEEDS)
def test_siblings_of_one_seed_see_the_same_and_another_seed_does_not(per_epoch, chain, seed):
    past = [Segment(*one) for one in chain]
    mine = drawn_by(per_epoch, past, Segment(seed, "general/a", 40))
    assert mine == drawn_by(per_epoch, past, Segment(seed, "general/a", 40))
    other = drawn_by(per_epoch, past, Segment(seed + 4, "general/a", 40))
    if per_epoch > 8:
        assert mine != other
    # What is left of an epoch is the same for both.
    left = per_epoch - WindowOrder(per_epoch, past=past, identity="x").first % per_epoch
    assert set(mine[:left]) == set(other[:left]) or left == per_epoch


@given(st.integers(1, 17), st.integers(0, 40), st.integers(0, 40))
def test_one_seed_over_a_chain_is_the_order_of_one_long_run(per_epoch, first, second):
    long = drawn_by(per_epoch, [], Segment(7, "general/a", first + second))
    past = [Segment(7, "general/a", first)]
    assert long[first:] == drawn_by(per_epoch, past, Segment(7, "general/a", second))


@given(st.integers(2, 17), st.lists(st.tuples(SEEDS, st.integers(0, 40)), min_size=1))
def test_ancestors_of_the_old_order_began_at_0(per_epoch, old):
    past = [Segment(seed, "general/a", windows, FROM_THE_START) for seed, windows in old]
    order = WindowOrder(per_epoch, past=past, identity="own")
    epoch = max(segment.windows for segment in past) // per_epoch
    seen = set()
    for segment in past:
        mine, used = divmod(segment.windows, per_epoch)
        if mine == epoch:
            alone = WindowOrder(per_epoch, past=[], identity=segment.identity)
            seen |= {alone[epoch * per_epoch + n][1] for n in range(used)}
    rest = [order[n][1] for n in range(per_epoch - len(seen))]
    assert sorted(rest) == sorted(set(range(per_epoch)) - seen)
    assert order.first == epoch * per_epoch + len(seen)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return str(build_dataset(tmp_path_factory.mktemp("text"), {"general": 40, "domain": 40}))


def make_loader(parts, past=None, **more):
    settings_ = {"block_size": 64, "batch_size": 12, "seed": 1} | more
    return loader.TrainLoader(parts, past=past, **settings_)


def mixed(domain, general, ratio):
    return mixture.build(
        domain=domain, general=general, domain_weights=(), general_weights=(), replay_ratio=ratio
    )


def windows_of(made, steps):
    return [row.tobytes() for step in range(steps) for row in made.batch(step).tokens]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([2, 3, 4]), SEEDS)
def test_a_child_on_other_hosts_reads_what_its_ancestors_left(text, first, second, hosts, seed):
    base = mixed((), (f"{text}#general",), 1)
    child = mixed((f"{text}#domain",), (f"{text}#general",), 0.5)
    (general,) = [part for part in child.components if part.role == "general"]
    record = {"data": {"order": 3, "sources": {}}, "tokens_by_source": {}, "ancestors": []}
    made = make_loader(base)
    record["data"]["sources"]["general/general"] = {"train_fingerprint": general.train_fingerprint}
    record["drawn"] = {}
    lineage.count_windows(record, made.counts(first), 64)
    past = drawn.table(record, {"seed": 1, "model": {"block_size": 64}})
    past = {general.key: drawn.past(past, general)}
    seen = windows_of(made, first)
    rows = np.array_split(np.arange(12), hosts)
    parts = [make_loader(child, past, seed=seed, rows=part) for part in rows]
    for step in range(second):
        seen += [row.tobytes() for part in parts for row in part.batch(step).tokens]
    assert len(set(seen)) == len(seen)
    whole = make_loader(child, past, seed=seed)
    assert whole.first_windows() == {"domain/domain": 0, "general/general": 12 * first}
    per_epoch = 12 * first / made.epochs(first)["general/general"]
    expected = (12 * first + whole.counts(second)["general/general"]) / per_epoch
    assert whole.epochs(second)["general/general"] == pytest.approx(expected)


def test_one_text_in_both_roles_is_drawn_from_as_one(text):
    made = make_loader(mixed((f"{text}#domain",), (f"{text}#domain",), 0.5))
    epoch = round(12 / made.epochs(1)["domain/domain"])
    assert made.epochs(1)["general/domain"] == made.epochs(1)["domain/domain"]
    seen = windows_of(made, epoch // 12)
    assert len(set(seen)) == len(seen)


def test_the_order_of_a_run_from_scratch_is_that_of_the_old_version(text):
    parts = mixed((f"{text}#domain",), (f"{text}#general",), 0.3)
    old = make_loader(parts, version=FROM_THE_START)
    assert old.describe()["order"] == 2 and "past" not in old.describe()
    for step in (0, 1, 30):
        assert np.array_equal(make_loader(parts).batch(step).tokens, old.batch(step).tokens)


def test_a_run_of_the_old_order_ignores_the_past(text):
    parts = mixed((f"{text}#domain",), (f"{text}#general",), 0.3)
    past = {part.key: [Segment(1, part.key, 5)] for part in parts.components}
    old = make_loader(parts, version=FROM_THE_START)
    assert make_loader(parts, past, version=FROM_THE_START).fingerprint == old.fingerprint
    assert make_loader(parts, past).fingerprint != make_loader(parts).fingerprint


def test_lineages_from_before_name_texts_by_dataset_and_source(text):
    """The parent's by its dataset's fingerprint; those above it by the source's name."""
    (part,) = mixed((), (f"{text}#general",), 1).components
    config = {"seed": 5, "model": {"block_size": 64}}
    tokens = {"general/general": 64 * 7}
    grandparent = {"tokens_by_source": {"general/general": 64 * 9}, "config": config}
    source = {"fingerprint": part.dataset.fingerprint}
    record = {"ancestors": [grandparent], "tokens_by_source": tokens}
    record["data"] = {"sources": {"general/general": source}}
    found = drawn.past(drawn.table(record, config), part)
    assert [(one.windows, one.version) for one in found] == [(9, 2), (7, 2)]
    # The same name, but other text: said, and begun at 0.
    record["ancestors"], source["fingerprint"] = [], "other"
    table = drawn.table(record, config)
    assert drawn.past(table, part) == []
    (line,) = drawn.changed_sources(table, [part])
    assert "general/general" in line and "begin at 0" in line
