"""A run's model as what continues prompts, with its tokenizer."""

import jax
from flax import nnx

from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import restore
from mypt_jax.model import gpt as model
from mypt_jax.model import sampling
from mypt_jax.runs import own_tokenizer


def load(spec: str) -> tuple[sampling.Generator, tokenizers.Tokenizer]:
    """The model of a run (PATH, PATH@STEP, PATH@best) on the first device, and its tokenizer.

    Raises UserError when there is no such run or its tokenizer is not the recorded one.
    """
    return of_loaded(restore.load_params(spec))


def of_loaded(loaded: restore.Loaded) -> tuple[sampling.Generator, tokenizers.Tokenizer]:
    """As `load`, of what was read."""
    tokenizer = own_tokenizer.of(loaded.path, loaded.config, loaded.record)
    device = jax.devices()[0]
    settings = model.resolve(loaded.config["model"], device)
    # One document and no backward pass: neither masks nor rematerialisation.
    settings |= {"attention": "xla", "document_mask": False, "remat": "none", "dropout": 0.0}
    abstract = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **settings))
    gpt = nnx.merge(nnx.graphdef(abstract), nnx.State(jax.device_put(loaded.params, device)))
    generator = sampling.Generator(
        gpt, eot=tokenizer.eot, vocab_size=tokenizer.vocab_size, stops=tokenizer.stops
    )
    return generator, tokenizer
