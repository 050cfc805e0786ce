"""What a resumed run goes on with: the same training text, whatever it is evaluated on."""

import pytest

from configs import base
from data_pipeline.batches import loader, mixture, window_order
from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.runs import drawn, lineage
from mypt_jax.schema import keys
from mypt_jax.train import provenance


def opened(
    domain: tuple, general: tuple, ratio: float
) -> tuple[mixture.Mixture, loader.TrainLoader]:
    mixed = mixture.build(
        domain=domain, general=general, domain_weights=(), general_weights=(), replay_ratio=ratio
    )
    return mixed, loader.TrainLoader(mixed, block_size=32, batch_size=4, seed=0)


def resume(before: loader.TrainLoader, mixed: mixture.Mixture, now: loader.TrainLoader) -> tuple:
    record: dict = {"notes": [], "data": {}}
    config = {"workdir": "runs/x", "data": {"allow_change": False}}
    saved = {"fingerprint": before.fingerprint, "describe": before.describe()}
    found = provenance.check_data(record, config, mixed, saved, 6, open_loader=lambda *_: now)
    return record, found[1]


def test_a_base_that_is_evaluated_on_the_domain_later_goes_on(datasets):
    """The guide's order: the domain is prepared while base trains."""
    general = (datasets["general"],)
    _, before = opened((), general, 1.0)
    mixed, now = opened((datasets["domain"],), general, 1.0)
    record, (line,) = resume(before, mixed, now)
    told = "what runs/x is evaluated on changed since step 6 (domain/laws, domain/manuals)"
    assert line == f"warning: {told}" and record["notes"] == [told]
    assert resume(now, mixed, now)[1] == []


def test_other_training_text_is_refused(datasets):
    domain, general = (datasets["domain"],), (datasets["general"],)
    _, before = opened(domain, general, 0.5)
    for mixed, now in (opened(domain, general, 0.25), opened(domain, (), 0.0)):
        with pytest.raises(UserError, match="the data of runs/x changed since step 6"):
            resume(before, mixed, now)


def windows(train: loader.TrainLoader, steps: range) -> set[bytes]:
    return {row.tobytes() for step in steps for row in train.batch(step).tokens}


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_run_that_goes_on_with_another_batch_reads_what_it_had_not(batch_size, datasets):
    """Windows were left out, or came twice in an epoch, and those of earlier steps were counted by
    the new batch size."""
    mixed, before = opened((), (datasets["general"],), 1.0)
    assert before.epochs(20)["general/encyclopedia"] < 1
    record: dict = {"notes": [], "ancestors": [], "drawn": {}, "data": {}}
    record["data"] = provenance.data(mixed, before)
    saved = {"fingerprint": before.fingerprint, "describe": before.describe()}
    lineage.count_windows(record, before.counts(6), 32)
    config = {"workdir": "runs/x", "data": {"allow_change": True}}
    (part,) = mixed.components

    def open_loader(record: dict, version: int) -> loader.TrainLoader:
        past = {part.key: drawn.past(record["drawn"], part)}
        first = lineage.changed(record)["step"]
        return loader.TrainLoader(
            mixed, block_size=32, batch_size=batch_size, seed=3, past=past, first_step=first
        )

    now, (line,) = provenance.check_data(record, config, mixed, saved, 6, open_loader=open_loader)
    assert f"batch_size: 4 -> {batch_size}" in line and record["notes"] == [line[9:]]
    seen, next_ones = windows(before, range(6)), windows(now, range(6, 12))
    assert len(next_ones) == 6 * batch_size and not seen & next_ones
    lineage.count_windows(record, now.counts(12), 32)
    drew = 6 * 4 + 6 * batch_size
    assert record["tokens_by_source"] == {"general/encyclopedia": drew * 32}
    assert now.epochs(12) == {"general/encyclopedia": pytest.approx(drew / before_epoch(before))}
    # It goes on so without another word, and a child of it finds all that it drew.
    saved = {"fingerprint": now.fingerprint, "describe": now.describe()}
    again, lines = provenance.check_data(record, config, mixed, saved, 12, open_loader=open_loader)
    assert lines == [] and windows(again, range(6, 12)) == next_ones
    own = {"seed": 3, "model": {"block_size": 32}}
    segments = drawn.table(record, own)[part.train_fingerprint]
    assert [one["windows"] for one in segments] == [24, 6 * batch_size]
    child = loader.TrainLoader(
        mixed,
        block_size=32,
        batch_size=4,
        seed=5,
        past={part.key: [window_order.Segment(**one) for one in segments]},
    )
    assert not windows(child, range(2)) & (seen | next_ones)


def before_epoch(train: loader.TrainLoader) -> float:
    """Windows in an epoch of the only source."""
    return 4 / train.epochs(1)["general/encyclopedia"]


def test_what_a_run_was_trained_on_before_a_change_stays_told(datasets):
    """A source that left the mixture keeps its tokens and its licence."""
    domain, general = (datasets["domain"],), (datasets["general"],)
    mixed, before = opened(domain, general, 0.5)
    record: dict = {"notes": [], "ancestors": [], "drawn": {}}
    record["data"] = provenance.data(mixed, before)
    lineage.count_windows(record, before.counts(6), 32)
    first, licences = dict(record["tokens_by_source"]), lineage.licences(record)
    saved = {"fingerprint": before.fingerprint, "describe": before.describe()}
    other, _ = opened((), general, 1.0)

    def open_loader(record: dict, version: int) -> loader.TrainLoader:
        first_step = lineage.changed(record)["step"]
        return loader.TrainLoader(other, block_size=32, batch_size=4, seed=0, first_step=first_step)

    config = {"workdir": "runs/x", "data": {"allow_change": True}}
    now, _ = provenance.check_data(record, config, other, saved, 6, open_loader=open_loader)
    lineage.count_windows(record, now.counts(7), 32)
    more = {"general/encyclopedia": first["general/encyclopedia"] + 4 * 32}
    assert record["tokens_by_source"] == first | more
    assert lineage.licences(record) == licences
    table = drawn.table(record, {"seed": 0, "model": {"block_size": 32}})
    assert sum(one["windows"] for text in table.values() for one in text) == 7 * 4


def test_another_number_of_cores_is_told_where_it_was_known(monkeypatch):
    """XLA sums in as many parts; a run from before that was recorded may have had as many."""
    config = {"workdir": "runs/x"}
    monkeypatch.setattr(provenance, "policy_of", lambda config: "none")
    now = {"platform": "cpu", "cores": 1, "remat": "none"}
    monkeypatch.setattr(provenance, "numerics", lambda config, program: now)
    monkeypatch.setattr(provenance, "recorded_numerics", lambda record: record["numerics"])
    record = {"notes": [], "numerics": {"platform": "cpu", "cores": 2}}
    (line,) = provenance.check_numerics(record, config, None, 6)
    assert line.startswith("numerics changed at step 6 (cores: 2 -> 1)")
    assert record["numerics"] == now and record["notes"] == [line]
    old = {"notes": [], "numerics": {"platform": "cpu"}}
    assert provenance.check_numerics(old, config, None, 6) == [] and old["numerics"] == now


def test_other_masks_are_told_and_are_no_part_of_an_evaluation(monkeypatch):
    monkeypatch.setattr(provenance, "policy_of", lambda config: "light")
    before = {"platform": "tpu", "remat": "light", "dropout_bits": "threefry"}
    now = before | {"dropout_bits": "hash"}
    monkeypatch.setattr(provenance, "numerics", lambda config, program: now)
    monkeypatch.setattr(provenance, "recorded_numerics", lambda record: record["numerics"])
    record = {"notes": [], "numerics": before}
    (line,) = provenance.check_numerics(record, {"workdir": "runs/x"}, None, 6)
    assert "(dropout_bits: threefry -> hash)" in line
    assert line.endswith("but for rounding and dropout's masks")
    assert provenance.evaluated_by(before) == provenance.evaluated_by(now) == {"platform": "tpu"}


def schedule(num_steps: int, name: str = "cosine") -> dict:
    config = base.get_config("tiny").to_dict()
    config["optim"] |= {"schedule": name, "peak_lr": 3e-4, "warmup_steps": 4.0}
    return {**config, "num_steps": num_steps, "workdir": "runs/none"}


def test_a_longer_run_says_both_rates_of_the_step_where_it_goes_on():
    record: dict = {"notes": []}
    assert provenance.check_schedule(record, schedule(40), 0) == []  # nothing was known
    assert provenance.check_schedule(record, schedule(40), 40) == []
    (line,) = provenance.check_schedule(record, schedule(80), 40)
    assert line == "learning rate of step 41: 3e-05 before, 0.000171 now (num_steps: 40 -> 80)"
    assert record["notes"] == [line]
    assert provenance.check_schedule(record, schedule(80), 44) == []
    (line,) = provenance.check_schedule(record, schedule(80, "constant"), 44)
    assert "0.0003 now (optim.schedule: cosine -> constant)" in line


def test_what_a_new_schedule_takes_is_part_of_what_decides_the_rate(monkeypatch):
    """Told when it changes, and of a run from before with the value that this run had."""

    def steps(*, peak_lr: float, halvings: int):
        return lambda count: peak_lr * 0.5**halvings

    monkeypatch.setitem(optim.SCHEDULES, "steps", steps)
    monkeypatch.setitem(
        keys.BY_NAME, "optim.halvings", keys.Key("optim.halvings", int, "training", absent=0)
    )

    def config(halvings: int) -> dict:
        found = schedule(40, "steps")
        return {**found, "optim": {**found["optim"], "halvings": halvings}}

    record: dict = {"notes": []}
    provenance.check_schedule(record, config(1), 0)
    (line,) = provenance.check_schedule(record, config(2), 40)
    assert "(optim.halvings: 1 -> 2)" in line
    del record["schedule"]["optim.halvings"]
    (line,) = provenance.check_schedule(record, config(1), 40)
    assert "(optim.halvings: 0 -> 1)" in line
