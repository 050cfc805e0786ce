"""A run's model continues prompts: loaded with its tokenizer, its text shown as it comes."""

import argparse
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import restore
from mypt_jax.model import gpt as model
from mypt_jax.model import sampling
from mypt_jax.runs import own_tokenizer

DEFAULT_NEW_TOKENS = 200


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


class _Stream:
    """Writes the text of one row as its tokens arrive, whole characters only."""

    def __init__(self, tokenizer, prompt: str, write: Callable[[str], None]):
        self._decode, self._tokens, self._shown = tokenizer.decode, [], ""
        self._write, self._prompt = write, prompt

    def __call__(self, tokens_B: np.ndarray) -> None:
        # With the first token: a prompt that is refused is not repeated.
        self._write(self._prompt)
        self._prompt = ""
        if tokens_B[0] < 0:
            return
        self._tokens.append(int(tokens_B[0]))
        text = self._decode(self._tokens)
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            self._write(text[len(self._shown) :])
            self._shown = text


def of(
    spec: str,
    prompts: list[str],
    options: argparse.Namespace,
    *,
    write: Callable[[str], None] | None = None,
) -> tuple[list[str], sampling.Generated]:
    """What the run at `spec` says after each prompt, and how fast; `options`: generate's.

    `write` is handed the only prompt's text as it comes.
    """
    generator, tokenizer = load(spec)
    encoded = [tokenizer.encode_prompt(prompt).tolist() for prompt in prompts]
    room = generator.block_size - max(1, *map(len, encoded))
    new_tokens = options.max_new_tokens or min(DEFAULT_NEW_TOKENS, max(room, 1))
    made = generator.generate(
        encoded,
        max_new_tokens=new_tokens,
        sampling=sampling.Sampling(
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            repetition_penalty=options.repetition_penalty,
        ),
        seed=options.seed,
        use_cache=not options.no_cache,
        **({"on_tokens": _Stream(tokenizer, prompts[0], write)} if write else {}),
    )
    return [tokenizer.decode(tokens) for tokens in made.tokens], made
