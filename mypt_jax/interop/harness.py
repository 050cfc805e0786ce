"""A run as lm-evaluation-harness sees a model (requirements-eval.txt)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_pipeline import errors
from mypt_jax import continuation as continuations
from mypt_jax.evaluate import scorer
from mypt_jax.model import sampling

try:
    from lm_eval import simple_evaluate
    from lm_eval.api.model import TemplateLM
    from lm_eval.tasks import TaskManager
except ImportError:  # told by main; the class needs its base
    simple_evaluate = TaskManager = None
    TemplateLM = object

DEFAULT_NEW_TOKENS = 256  # where a task names none; or half of a shorter context
_NEW_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
_PLAIN = {"num_beams": 1, "num_return_sequences": 1}  # of Hugging Face: one answer, no search


class RunLM(TemplateLM):
    """A run as the harness sees a model: likelihoods of continuations and of whole texts."""

    def __init__(self, run: str, *, batch_size: int):
        """`run`: PATH, PATH@STEP or PATH@best. Raises UserError and NoValidState."""
        if simple_evaluate is None:
            raise errors.UserError(
                "lm-evaluation-harness is not installed: pip install -r requirements-eval.txt"
            )
        super().__init__()
        self._run = run
        self._scorer = scorer.Scorer(run, batch_size=batch_size)

    @property
    def eot_token_id(self) -> int:
        return self._scorer.tokenizer.eot

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has nothing before it."""
        tokenizer = self._scorer.tokenizer
        return tokenizer.eot if tokenizer.bos is None else tokenizer.bos

    @property
    def tokenizer_name(self) -> str:
        return self._scorer.tokenizer.name

    def tok_encode(self, string, add_special_tokens=None, **_) -> list[int]:
        """Ids of a prompt; with BOS where the run's documents begin with it."""
        tokenizer = self._scorer.tokenizer
        if add_special_tokens is False:
            tokenizer = tokenizer.beginning(False)
        return tokenizer.encode_prompt(string).tolist()

    def _loglikelihood_tokens(self, requests, **_) -> list[tuple[float, bool]]:
        size = self._scorer.block_size
        windows = np.zeros((len(requests), size + 1), np.int32)
        spans = []
        for row, (_, context, continuation) in zip(windows, requests, strict=True):
            if len(continuation) > size:
                raise errors.UserError(
                    f"a continuation has {len(continuation)} tokens, the context of run "
                    f"{self._run} holds {size}"
                )
            ids = (context + continuation)[-(size + 1) :]  # the oldest context falls out
            row[: len(ids)] = ids
            spans.append(slice(len(ids) - 1 - len(continuation), len(ids) - 1))
        nll = self._scorer.nll(windows).astype(np.float64)
        greedy = self._scorer.is_greedy(windows)
        return [
            (-float(nll[i, span].sum()), bool(greedy[i, span].all()))
            for i, span in enumerate(spans)
        ]

    def loglikelihood_rolling(self, requests, disable_tqdm=False) -> list[float]:
        """Log-likelihoods of whole texts, each after the prefix; 0 of an empty one."""
        found = []
        for request in requests:
            ids = [self.prefix_token_id, *self.tok_encode(request.args[0])]
            found.append(-float(self._scorer.nll_of(np.array(ids)).sum()) if ids[1:] else 0.0)
        return found

    def generate_until(self, requests, disable_tqdm=False) -> list[str]:
        """Continuations up to the first of the strings that a task names in `until`."""
        generator, tokenizer = continuations.load(self._run)
        texts = []
        for number, request in enumerate(requests):
            prompt, settings = request.args
            wanted = _wanted(settings, block_size=generator.block_size)
            ids = self.tok_encode(prompt)[-(generator.block_size - wanted.new_tokens) :]
            made = generator.generate(
                [ids],
                max_new_tokens=wanted.new_tokens,
                sampling=wanted.sampling,
                seed=number,
                use_cache=True,
            )
            texts.append(_cut(tokenizer.decode(made.tokens[0]), wanted.until))
        return texts


class _Wanted(NamedTuple):
    """How a task wants to be answered."""

    new_tokens: int
    until: tuple[str, ...]
    sampling: sampling.Sampling


def _wanted(settings: Mapping, *, block_size: int) -> _Wanted:
    """Reads generation_kwargs as the harness's own model of Hugging Face does: greedy unless
    do_sample or a temperature says otherwise. Raises UserError for what is not done here."""
    given = {key: value for key, value in settings.items() if value is not None}
    until = given.pop("until", ())
    named = [given.pop(key) for key in _NEW_TOKENS if key in given]
    temperature = float(given.pop("temperature", 0.0 if not given.get("do_sample") else 1.0))
    how = {key: given.pop(key, usual) for key, usual in _SAMPLING.items()}
    sampled = given.pop("do_sample", temperature > 0)
    if given := {key: value for key, value in given.items() if _PLAIN.get(key) != value}:
        raise errors.UserError(
            f"generation_kwargs has {given}, wanted of until, {', '.join(_NEW_TOKENS)}, do_sample, "
            f"temperature, {', '.join(_SAMPLING)}"
        )
    new_tokens = int(named[0]) if named else min(DEFAULT_NEW_TOKENS, block_size // 2)
    if not 0 < new_tokens < block_size:
        raise errors.UserError(
            f"a task wants {new_tokens} new tokens, wanted 1 to {block_size - 1}: the context of "
            f"{block_size} also holds the prompt; name fewer as max_gen_toks"
        )
    return _Wanted(
        new_tokens,
        (until,) if isinstance(until, str) else tuple(until),
        sampling.Sampling(temperature=temperature if sampled else 0.0, **how),
    )


def _cut(text: str, until: tuple[str, ...]) -> str:
    for stop in until:
        text = text.partition(stop)[0] if stop else text
    return text
