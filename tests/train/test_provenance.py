"""What a resumed run goes on with: the same training text, whatever it is evaluated on."""

import pytest

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
