"""What the base wrote itself (mypt sample) is replayed, and evaluated as a role of its own."""

import pytest
from conftest import SMALL, documents, train

from data_pipeline.prepare import budget, build
from data_pipeline.tokens import tokenizer
from mypt_jax.runs import layout


@pytest.fixture(scope="module")
def taught(datasets, compile_cache, tmp_path_factory):
    """(root, overrides of a finished stage root/v3 without any general text)."""
    root = tmp_path_factory.mktemp("behaviour")
    overrides = {**SMALL, "data.domain": datasets["domain"], "compile_cache": compile_cache}
    base = {**overrides, "data.general": datasets["general"], "num_steps": 4, "eval.every_steps": 4}
    assert train("base", {**base, "workdir": root / "base"}).returncode == 0
    build.build_dataset(
        documents("samples", 120, 0),
        out_dir=root / "samples",
        vocabulary=tokenizer.get("gpt2-4096"),
        settings=budget.Settings(seed=0, val_fraction=0.3, tokens_per_shard=20_000),
        recorded={"command": "sample"},
    )
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
