"""Continues token sequences with a model: KV cache, batches, the ways to choose the next token.

Axes: B prompts, P prompt length, L new positions, D n_embd, V vocabulary.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline import errors
from mypt_jax.model import gpt as model

# Prompts and caches are rounded up to a multiple of this, so that few shapes are compiled.
ROUND_TOKENS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. 0 (top_p, repetition_penalty: 1) switches a part off."""

    temperature: float  # 0: always the most likely token
    top_k: int  # only among the k most likely
    top_p: float  # only among the most likely that together have this probability
    repetition_penalty: float  # divides the odds of tokens seen before (Keskar et al. 2019)

    def __post_init__(self):
        for name, value, low, high in (
            # Below it logits overflow in float32.
            ("temperature", self.temperature or 1, 1e-4, 100),
            ("top_k", self.top_k, 0, 1 << 31),
            ("top_p", self.top_p, 1e-6, 1),
            ("repetition_penalty", self.repetition_penalty, 1e-3, 1e3),
        ):
            if not low <= value <= high:
                raise errors.UserError(f"{name} is {value}, wanted {low} to {high}")


SPEAKS = -1  # in a script: here the model speaks, until it ends its turn


class Script(NamedTuple):
    """How every document of a block goes: `start` is read before it and no part of it; `tokens` are
    said for the model one after another, SPEAKS where it chooses itself until it says `end`."""

    start: int
    end: int
    tokens: tuple[int, ...] = (SPEAKS,)


class Generated(NamedTuple):
    """New tokens of every prompt, without what ended them, and how long the decoding took."""

    tokens: list[list[int]]
    decode_secs: float
    compile_secs: float
    decoded_tokens: int

    @property
    def tokens_per_sec(self) -> float:
        return self.decoded_tokens / max(self.decode_secs, 1e-9)


class Generator:
    """A model with its tokenizer, ready to continue prompts."""

    def __init__(self, gpt: model.GPT, *, eot: int, vocab_size: int, stops: Sequence[int] = ()):
        """`vocab_size`: ids in use; the padding of the vocabulary is never sampled. `stops`: ids
        that end a continuation beside `eot`, as a chat's end of a turn."""
        self.gpt, self.eot, self.vocab_size = gpt, eot, vocab_size
        self.stops = tuple(stops)
        self._programs: dict = {}

    @property
    def block_size(self) -> int:
        return self.gpt.config.block_size

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        sampling: Sampling,
        seed: int,
        use_cache: bool = True,
        on_tokens: Callable[[np.ndarray], None] = lambda tokens_B: None,
    ) -> Generated:
        """Continues every prompt until a stop or max_new_tokens; an empty prompt starts after EOT.

        A row's samples depend on its prompt, its number and the seed, not on the other rows.
        on_tokens is called with each new token [B]; -1 where a row has ended. Raises UserError when
        prompt and continuation do not fit into the context.
        """
        prompts = [list(prompt) or [self.eot] for prompt in prompts]
        self._check(prompts, max_new_tokens)
        longest = max(map(len, prompts))
        capacity = min(_round_up(longest + max_new_tokens), self.block_size)
        width = min(_round_up(longest), capacity) if use_cache else capacity
        tokens_BP = np.full((len(prompts), width), self.eot, np.int32)
        seen_BV = np.zeros((len(prompts), self.gpt.config.vocab_size), bool)
        for row, prompt in enumerate(prompts):
            tokens_BP[row, : len(prompt)] = prompt
            seen_BV[row, prompt] = True
        lengths_B = np.array([len(prompt) for prompt in prompts], np.int32)
        state = {
            "tokens_BP": jnp.asarray(tokens_BP),
            "lengths_B": jnp.asarray(lengths_B),
            "seen_BV": jnp.asarray(seen_BV),
            "key": jax.random.key(seed),
            "index": jnp.zeros((), jnp.int32),
        }
        cache = self.gpt.init_cache(len(prompts), capacity) if use_cache else None
        start = time.perf_counter()
        first, following = self._compiled(cache, state, sampling)
        compile_secs = time.perf_counter() - start

        outputs: list[list[int]] = [[] for _ in prompts]
        live_B = np.ones(len(prompts), bool)
        start = time.perf_counter()
        for number in range(max_new_tokens):
            run = first if number == 0 else following
            new_B, cache, state = run(self.gpt, cache, state)
            new_B = np.asarray(new_B)
            live_B = live_B & ~np.isin(new_B, (self.eot, *self.stops))
            for row in np.flatnonzero(live_B):
                outputs[row].append(int(new_B[row]))
            on_tokens(np.where(live_B, new_B, -1))
            if not live_B.any():
                break
        decode_secs = time.perf_counter() - start
        return Generated(outputs, decode_secs, compile_secs, sum(map(len, outputs)))

    def block(self, rows_B: np.ndarray, *, seed: int, script: Script) -> np.ndarray:
        """Documents as the model writes them unasked: tokens int32[B, L], L the whole context.

        A row is a function of its number, uint32, and the seed. Its documents go by the script, end
        with it or where the model says EOT, and see nothing of each other; the last one of a row
        may be cut. Temperature 1, nothing is cut off the distribution. Compiled once for each B.
        """
        ids = {"script": script, "eot": self.eot, "vocab_size": self.vocab_size}
        return np.asarray(_block(self.gpt, jax.random.key(seed), rows_B, **ids))

    def _check(self, prompts, max_new_tokens):
        for number, prompt in enumerate(prompts, 1):
            if len(prompt) + max_new_tokens > self.block_size:
                raise errors.UserError(
                    f"prompt {number} has {len(prompt)} tokens and {max_new_tokens} are to follow; "
                    f"the model's context is {self.block_size}: shorten the prompt or lower "
                    "--max_new_tokens"
                )

    def _compiled(self, cache, state, sampling):
        """(first, following) compiled for these shapes: (gpt, cache, state) -> (token [B], ...)."""
        shapes = str(jax.tree.map(lambda x: (x.shape, str(x.dtype)), (cache, state)))
        if (shapes, sampling) not in self._programs:
            choose = functools.partial(_choose, sampling=sampling, vocab_size=self.vocab_size)
            steps = [_recompute] if cache is None else [_prefill, _decode]
            programs = []
            for step in steps:
                step = functools.partial(step, choose=choose)
                lowered = jax.jit(step, donate_argnums=1).lower(self.gpt, cache, state)
                programs.append(lowered.compile())
                _, cache, state = jax.eval_shape(step, self.gpt, cache, state)
            self._programs[shapes, sampling] = programs[0], programs[-1]
        return self._programs[shapes, sampling]


def _round_up(tokens: int) -> int:
    return -(-tokens // ROUND_TOKENS) * ROUND_TOKENS


def _prefill(gpt, cache, state, *, choose):
    """Reads the prompts into the cache and chooses the first new tokens."""
    tokens_BP, lengths_B = state["tokens_BP"], state["lengths_B"]
    hidden_BPD, cache = gpt.decode_step(tokens_BP, jnp.zeros_like(lengths_B), cache)
    new_B, state = _advance(gpt, hidden_BPD, lengths_B - 1, state, choose)
    return new_B, cache, {**state, "tokens_BP": new_B[:, None]}


def _decode(gpt, cache, state, *, choose):
    """One more token from the cache: tokens_BP holds the last one of every row."""
    starts_B = state["lengths_B"] - 1
    hidden_BLD, cache = gpt.decode_step(state["tokens_BP"], starts_B, cache)
    new_B, state = _advance(gpt, hidden_BLD, jnp.zeros_like(starts_B), state, choose)
    return new_B, cache, {**state, "tokens_BP": new_B[:, None]}


def _recompute(gpt, cache, state, *, choose):
    """One more token without a cache: a full forward pass over every position."""
    at_B = state["lengths_B"] - 1
    new_B, state = _advance(gpt, gpt(state["tokens_BP"]), at_B, state, choose)
    rows_B = jnp.arange(len(new_B))
    tokens_BP = state["tokens_BP"].at[rows_B, at_B + 1].set(new_B)
    return new_B, cache, {**state, "tokens_BP": tokens_BP}


@functools.partial(jax.jit, static_argnames=("script", "eot", "vocab_size"))
def _block(gpt, key, rows_B, *, script: Script, eot: int, vocab_size: int):
    """Generator.block."""
    length = gpt.config.block_size
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, rows_B)
    used_V = jnp.arange(gpt.config.vocab_size) < vocab_size
    script_S = jnp.array(script.tokens, jnp.int32)

    def one_token(carry, index):
        cache, last_B, at_B, place_B = carry
        hidden_B1D, cache = gpt.decode_step(last_B[:, None], at_B, cache)
        logits_BV = jnp.where(used_V, gpt.logits(hidden_B1D[:, 0]), -jnp.inf)
        now_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, index)
        own_B = jax.vmap(jax.random.categorical)(now_B, logits_BV).astype(jnp.int32)
        speaks_B = script_S[place_B] == SPEAKS
        new_B = jnp.where(speaks_B, own_B, script_S[place_B])
        place_B = place_B + (~speaks_B | (new_B == script.end))
        # A new document is at position 0 again, where what is cached behind it is masked.
        ended_B = place_B == len(script.tokens)
        if eot != script.end:
            ended_B |= speaks_B & (new_B == eot)
        last_B = jnp.where(ended_B, script.start, new_B)
        at_B, place_B = (jnp.where(ended_B, 0, x_B) for x_B in (at_B + 1, place_B))
        return (cache, last_B, at_B, place_B), new_B

    cache = gpt.init_cache(len(rows_B), length)
    zeros_B = jnp.zeros_like(rows_B, jnp.int32)
    first = (cache, jnp.full_like(zeros_B, script.start), zeros_B, zeros_B)
    _, tokens_LB = jax.lax.scan(one_token, first, jnp.arange(length))
    return tokens_LB.T


def _advance(gpt, hidden_BLD, at_B, state, choose):
    """Chooses the next token of every row from the hidden state at its position at_B."""
    rows_B = jnp.arange(hidden_BLD.shape[0])
    logits_BV = gpt.logits(hidden_BLD[rows_B, at_B])
    key = jax.random.fold_in(state["key"], state["index"])
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, rows_B)
    new_B = choose(logits_BV, state["seen_BV"], keys_B)
    return new_B, {
        **state,
        "lengths_B": state["lengths_B"] + 1,
        "seen_BV": state["seen_BV"].at[rows_B, new_B].set(True),
        "index": state["index"] + 1,
    }


def _choose(logits_BV, seen_BV, keys_B, *, sampling: Sampling, vocab_size: int):
    """Next token of every row from its logits; fp32."""
    V = logits_BV.shape[1]
    if sampling.repetition_penalty != 1:
        penalty = sampling.repetition_penalty
        less_BV = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
        logits_BV = jnp.where(seen_BV, less_BV, logits_BV)
    logits_BV = jnp.where(jnp.arange(V) < vocab_size, logits_BV, -jnp.inf)
    if sampling.temperature == 0:
        return logits_BV.argmax(-1).astype(jnp.int32)
    logits_BV = logits_BV / sampling.temperature
    if 0 < sampling.top_k < V:
        least_B1 = jax.lax.top_k(logits_BV, sampling.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)
    if sampling.top_p < 1:
        sorted_BV = -jnp.sort(-logits_BV, axis=-1)
        before_BV = jnp.cumsum(jax.nn.softmax(sorted_BV), axis=-1) - jax.nn.softmax(sorted_BV)
        # The token that crosses top_p is still in (Holtzman et al. 2020), so one always is.
        kept_BV = jnp.where(before_BV < sampling.top_p, sorted_BV, jnp.inf)
        logits_BV = jnp.where(logits_BV >= kept_BV.min(-1, keepdims=True), logits_BV, -jnp.inf)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)
