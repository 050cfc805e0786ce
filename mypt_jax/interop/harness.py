"""A run as lm-evaluation-harness sees a model (requirements-eval.txt)."""

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

DEFAULT_NEW_TOKENS = 256  # where a task names none


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
    def tokenizer_name(self) -> str:
        return self._scorer.tokenizer.name

    def tok_encode(self, string, add_special_tokens=None, **_) -> list[int]:
        return self._scorer.tokenizer.encode(string).tolist()

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
        return [-float(self._scorer.score_text(r.args[0]).nll_sum_D.sum()) for r in requests]

    def generate_until(self, requests, disable_tqdm=False) -> list[str]:
        """Continuations up to the first of the strings that a task names in `until`."""
        generator, tokenizer = continuations.load(self._run)
        texts = []
        for request in requests:
            prompt, settings = request.args
            room = generator.block_size - 1
            new_tokens = min(settings.get("max_gen_toks", DEFAULT_NEW_TOKENS), room)
            ids = tokenizer.encode(prompt).tolist()[-(generator.block_size - new_tokens) :]
            made = generator.generate(
                [ids],
                max_new_tokens=new_tokens,
                sampling=sampling.Sampling(
                    temperature=settings.get("temperature", 0.0),
                    top_k=0,
                    top_p=1.0,
                    repetition_penalty=1.0,
                ),
                seed=0,
                use_cache=True,
            )
            texts.append(_cut(tokenizer.decode(made.tokens[0]), settings.get("until", ())))
        return texts


def _cut(text: str, until) -> str:
    for stop in [until] if isinstance(until, str) else until:
        text = text.partition(stop)[0] if stop else text
    return text
