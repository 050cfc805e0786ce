"""What the base wrote itself (mypt sample) is replayed, and evaluated as a role of its own."""

import dataclasses

import pytest
from conftest import SMALL, documents, train

from data_pipeline.prepare import budget, build
from data_pipeline.tokens import shards, tokenizer
from mypt_jax.runs import layout
from mypt_jax.schema import held, recorded


def write_samples(out_dir, val_fraction: float) -> None:
    build.build_dataset(
        documents("samples", 120, 0),
        out_dir=out_dir,
        vocabulary=tokenizer.get("gpt2-4096"),
        settings=budget.Settings(seed=0, val_fraction=val_fraction, tokens_per_shard=20_000),
        recorded={"command": "sample"},
    )


@pytest.fixture(scope="module")
def taught(datasets, compile_cache, tmp_path_factory):
    """(root, overrides of a finished stage root/v3 without any general text)."""
    root = tmp_path_factory.mktemp("behaviour")
    overrides = {**SMALL, "data.domain": datasets["domain"], "compile_cache": compile_cache}
    base = {**overrides, "data.general": datasets["general"], "num_steps": 4, "eval.every_steps": 4}
    assert train("base", {**base, "workdir": root / "base"}).returncode == 0
    write_samples(root / "samples", val_fraction=0.3)
    overrides |= {
        "data.general": root / "samples",
        "objective.replay": "kl",
        "objective.max_forgetting": 0.01,
        "objective.limit_on": "behaviour",
        "init_from": root / "base",
        "num_steps": 4,
        "eval.every_steps": 2,
    }
    end = train("v3", {**overrides, "workdir": root / "v3"})
    assert end.returncode == 0, end.stderr
    return root, overrides


def test_own_words_are_no_general_text(taught):
    root, _ = taught
    rows = [row for row in layout.metrics(root / "v3") if layout.has_eval(row)]
    for row in rows:
        assert "eval/behaviour/loss" in row and "behaviour/percent" in row
        assert not [key for key in row if key.startswith(("eval/general", "forgetting/"))]
    assert rows[0]["behaviour/nats"] == 0
    assert rows[-1]["behaviour/nats"] / rows[-1]["behaviour/base_loss"] <= 0.01
    assert "report/behaviour/drift" in rows[-1]


def test_a_limit_on_general_text_needs_some(taught):
    root, overrides = taught
    end = train("v3", {**overrides, "objective.limit_on": "general", "workdir": root / "other"})
    assert end.returncode == 2 and "limit_on=behaviour or drift" in end.stderr, end.stderr
    assert not (root / "other").exists()


def test_a_limit_on_drift_needs_text_that_the_base_knew(taught, datasets, tmp_path):
    """At the end of its training such a run was a traceback."""
    _, overrides = taught
    write_samples(tmp_path / "unheard", val_fraction=0.0)
    given = {"data.general": tmp_path / "unheard", "data.elsewhere": datasets["general"]}
    given |= {"objective.limit_on": "drift", "eval.drift": "always"}
    end = train("v3", {**overrides, **given, "workdir": tmp_path / "v3"})
    assert end.returncode == 2 and "behaviour or general text" in end.stderr, end.stderr
    assert not (tmp_path / "v3").exists()


def test_the_words_of_another_model_are_told(taught):
    root, _ = taught
    parent = held.Parent(
        str(root / "base"), 4, recorded.config(str(root / "base")), layout.record(root / "base")
    )
    own = {
        "params_sha256": layout.finished(root / "base")["params_sha256"],
        "run": "copied",
        "run_id": "another",
        "step": 0,
    }
    other = {**own, "params_sha256": "0" * 64}

    def told(settings):
        dataset = shards.open_dataset(root / "samples")
        return held.foreign_samples([dataclasses.replace(dataset, settings=[settings])], parent)

    assert told(own) == []
    assert told({**other, "run_id": parent.record["run_id"], "step": 4}) == []
    assert len(told(other)) == 1 and "was sampled from copied@0" in told(other)[0]
