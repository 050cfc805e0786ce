"""A finished run of a tiny model that says its end of text often: what it writes is short."""

from pathlib import Path

import model_factory as factory

from configs import base
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import save
from mypt_jax.runs import lineage
from tests import run_factory


def write_run(path: Path, tokenizer: str, *, more_eot: float, **shape: int) -> Path:
    """`more_eot`: added to the logit of end of text; `shape`: of config.model. Returns `path`."""
    config = base.get_config("tiny").to_dict()
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, **shape}
    config = run_factory.config(model={**config["model"], **shape}, workdir=str(path))
    config["data"]["tokenizer"] = tokenizer
    gpt = factory.randomized(**{**config["model"], "attention": "xla", "compute_dtype": "float32"})
    tree = factory.model.nnx.to_pure_dict(factory.nnx.split(gpt, factory.nnx.Param)[1])
    vocabulary = tokenizers.get(tokenizer)
    tree["head"]["bias"] = tree["head"]["bias"].at[vocabulary.eot].set(more_eot)
    record = lineage.new(
        config=config,
        run_id="r",
        created="",
        data={},
        tokenizer={"name": vocabulary.name, "sha256": vocabulary.sha256},
    )
    save.write_finished_run(str(path), tree, config, record)
    return path
