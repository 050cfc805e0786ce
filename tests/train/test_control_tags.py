"""Conversations of the original, with its control tags: trained on, evaluated, shown and said."""

import numpy as np
import pytest
from conftest import SMALL

from data_pipeline.commands import inspect
from data_pipeline.errors import UserError
from data_pipeline.tokens import mypt_format, shards, tokenizer
from mypt_jax import continuation, generate
from mypt_jax.evaluate import command
from mypt_jax.model import sampling
from tests import family_factory

SHAPE = {"model.vocab_size": 50_304, "model.n_embd": 16, "model.n_layer": 1}


@pytest.fixture
def conversations(tmp_path):
    """A directory as the original prepares it, every document a conversation."""
    ids = tokenizer.get("mypt").encode_prompt(
        "<myPT_user>one two three</myPT_user><myPT_assistant>four</myPT_assistant><myPT_eot>"
    )
    stream = np.tile(np.append(ids, 50_256), 60)
    root = tmp_path / "chat"
    root.mkdir()
    mypt_format.write(
        root,
        splits={"train": [stream], "val": [stream]},
        tokens_per_shard=1000,
        val_fraction=0.5,
        sources={},
        targets={},
    )
    return root


@pytest.mark.full
def test_tags_are_trained_evaluated_and_shown(conversations, tmp_path, compile_cache, capsys):
    values = {**SMALL, **SHAPE, "num_steps": 2, "optim.warmup_steps": 1, "eval.every_steps": 2}
    values |= {"data.domain": "()", "data.general": conversations, "workdir": tmp_path / "base"}
    values |= {"compile_cache": compile_cache}
    with pytest.raises(UserError, match="holds id 50275, gpt2 ends at 50256: a control tag"):
        family_factory.run_stage("base", {**values, "data.tokenizer": "gpt2"})
    assert not (tmp_path / "base").exists()
    family_factory.run_stage("base", {**values, "data.tokenizer": "mypt"})

    capsys.readouterr()
    assert command.main([f"--run={tmp_path / 'base'}", "--data", str(conversations)]) == 0
    assert inspect.main([str(conversations), "--decode=1"]) == 0
    assert "<myPT_assistant>four</myPT_assistant><myPT_eot>" in capsys.readouterr().out
    words = ["--prompt=<myPT_user>Hi</myPT_user><myPT_assistant>", "--max_new_tokens=2"]
    assert generate.main([f"--run={tmp_path / 'base'}", *words]) == 0

    made, vocabulary = continuation.load(str(tmp_path / "base"))
    greedy = sampling.Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)
    for tag, said in (("</myPT_assistant>", ["</myPT_assistant>"] * 2), ("<myPT_eot>", [])):
        number = int(vocabulary.encode_prompt(tag)[0])
        made.gpt.head.bias[...] = np.where(np.arange(50_304) == number, 1e4, 0.0)
        tokens = made.generate([[5]], max_new_tokens=2, sampling=greedy, seed=0).tokens[0]
        assert [vocabulary.decode([one]) for one in tokens] == said
    assert shards.open_dataset(conversations).tokenizer == "mypt"
