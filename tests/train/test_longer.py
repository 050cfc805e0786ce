"""A finished run that is trained longer from its parameters alone."""

import json
import shutil

import numpy as np
import pytest

from data_pipeline.errors import UserError
from mypt_jax import exits, optim
from mypt_jax.runs import layout
from mypt_jax.schema import recorded
from mypt_jax.train import finish
from tests import family_factory


@pytest.fixture
def base(family, tmp_path):
    """A finished run, a copy of its own."""
    shutil.copytree(family / "base", tmp_path / "base")
    return tmp_path / "base"


def test_it_goes_on_with_a_rate_that_rises_again_and_says_so(base, lineage_values, capsys):
    before = layout.metrics(base)
    assert not list(base.glob("checkpoints/*/rest"))
    more = {"num_steps": 6, "optim.warmup_steps": 2, "log.every_steps": 1, "workdir": base}
    more["log.trackers"] = "tensorboard"
    family_factory.run_stage("base", lineage_values | more)
    said = "trained longer from the parameters of step 2"
    shown = capsys.readouterr().out
    assert shown.count(said) == 1 and "warmed up again over 2 steps" in shown
    rows = layout.metrics(base)
    assert rows[: len(before)] == before, "what was measured stays"
    rates = [row["lr"] for row in rows if row["step"] > 2]
    np.testing.assert_allclose(rates, np.array([0.5, 1, 1, 1]) * 0.01, rtol=1e-6)
    assert layout.finished(base)["step"] == 6
    assert list(base.glob("events.out.tfevents.*")), "TensorBoard calls the run as its directory"
    record = layout.record(base)
    assert record["rewarm"] == {"after": 2, "steps": 2}
    assert [note for note in record["notes"] if said in note]


def test_with_another_batch_tokens_are_what_was_read(base, lineage_values, capsys):
    """Those of the first steps were counted by the new batch size."""
    before = layout.metrics(base)[-1]
    sequence = lineage_values["model.block_size"]
    for steps, batch_size in ((4, 4), (5, 4), (6, 2)):
        more = {"num_steps": steps, "batch_size": batch_size, "data.allow_change": True}
        more |= {"log.every_steps": 1, "workdir": base, "checkpoint.keep_optimizer": True}
        family_factory.run_stage("base", lineage_values | more)
    told = capsys.readouterr().out
    assert told.count("the data of") == 2, "a change is told once"
    tokens = {row["step"]: row["tokens"] for row in layout.metrics(base) if "tokens" in row}
    drew = before["tokens"] + (3 * 4 + 2) * sequence
    assert tokens[2] == before["tokens"] and tokens[6] == drew
    assert layout.metrics(base)[-1]["lineage_tokens"] == drew
    record = layout.record(base)
    assert sum(record["tokens_by_source"].values()) == drew
    assert record["data"]["changed"]["step"] == 5


def test_of_damaged_text_it_is_not_begun_and_stays_finished(base, lineage_values, tmp_path):
    """The run lost its end: the text is found damaged beside the compilation, after the start."""
    copy = tmp_path / "general"
    shutil.copytree(lineage_values["data.general"], copy)
    shard = min(copy.glob("*/train/*.bin"))
    damaged = bytearray(shard.read_bytes())
    damaged[-2] ^= 1
    shard.write_bytes(damaged)
    before = files_of(base)
    more = {"num_steps": 3, "optim.warmup_steps": 1, "data.general": str(copy), "workdir": base}
    with pytest.raises(exits.NoValidState, match="general"):
        family_factory.run_stage("base", lineage_values | more)
    assert files_of(base) == before


def files_of(run) -> dict[str, bytes]:
    """What a run says of itself; the ledger and the lease are of its starts, and grow."""
    names = ("config.json", "lineage.json", "metrics.jsonl", "finished.json")
    return {name: (run / name).read_bytes() for name in names}


def test_a_child_goes_on_while_its_parent_is_trained_longer(base, lineage_values, tmp_path):
    """Which is unfinished then, and was at another step when the child began."""
    values = lineage_values | {"workdir": tmp_path / "v3", "init_from": base}
    family_factory.run_stage("v3", values)
    family_factory.run_stage("base", lineage_values | {"num_steps": 3, "workdir": base})
    family_factory.run_stage("v3", values | {"num_steps": 3})
    (base / "finished.json").unlink()
    family_factory.run_stage("v3", values | {"num_steps": 4})
    assert layout.finished(tmp_path / "v3")["step"] == 4
    assert layout.record(tmp_path / "v3")["parent"]["step"] == 2


def test_what_a_killed_removal_left_of_an_optimizer_is_not_gone_on_from(base, lineage_values):
    """Of its files some are gone, of which the manifest knows: it names none of them."""
    (rest,) = (step / "rest" for step in base.glob("checkpoints/*"))
    rest.mkdir()
    (rest / "_METADATA").write_text("{}")
    more = {"num_steps": 3, "optim.warmup_steps": 1, "workdir": base}
    family_factory.run_stage("base", lineage_values | more)
    assert layout.finished(base)["step"] == 3
    assert layout.record(base)["rewarm"] == {"after": 2, "steps": 1}


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        ("adapter", {"rank": 2}, "the adapters"),
        ("optim", {"average_ratio": 0.5}, "the mean"),
    ],
)
def test_what_went_with_the_optimizer_is_one_line(base, group, values, words):
    config = recorded.config(base)
    config[group] |= values
    (base / layout.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"{words} .*--config.init_from"):
        finish.is_there({**config, "workdir": str(base), "num_steps": 9})
    assert layout.finished(base)["step"] == 2


def test_rates_before_the_second_warmup_are_as_they_were():
    config = {"schedule": "cosine", "peak_lr": 1.0, "warmup_steps": 4, "final_lr_ratio": 0.1}
    plain = optim.Rates(config, num_steps=40)
    again = optim.Rates(config, num_steps=40, rewarm=(20, 4))
    shares = [float(again(step) / plain(step)) for step in range(40)]
    np.testing.assert_allclose(shares[:20], 1)
    np.testing.assert_allclose(shares[20:24], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(shares[24:], 1)
