"""What a resumed run goes on with: the same training text, whatever it is evaluated on."""

import pytest

from configs import base
from data_pipeline.batches import loader, mixture
from data_pipeline.errors import UserError
from mypt_jax.train import provenance


def opened(
    domain: tuple, general: tuple, ratio: float
) -> tuple[mixture.Mixture, loader.TrainLoader]:
    mixed = mixture.build(
        domain=domain, general=general, domain_weights=(), general_weights=(), replay_ratio=ratio
    )
    return mixed, loader.TrainLoader(mixed, block_size=32, batch_size=4, seed=0)


def resume(before: loader.TrainLoader, mixed: mixture.Mixture, now: loader.TrainLoader) -> tuple:
    record: dict = {"notes": []}
    config = {"workdir": "runs/x", "data": {"allow_change": False}}
    saved = {"fingerprint": before.fingerprint, "describe": before.describe()}
    return record, provenance.check_data(record, config, mixed, now, saved, 6)


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
