"""A run's model continues prompts: loaded with its tokenizer, its text shown as it comes."""

import argparse
from collections.abc import Callable

import numpy as np

from mypt_jax.evaluate.generator import load, of_loaded
from mypt_jax.model import sampling

__all__ = ["load", "of", "of_loaded"]
DEFAULT_NEW_TOKENS = 200


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
