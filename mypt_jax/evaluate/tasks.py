"""Two tasks made from any held-out text: pick the true continuation, recall what stood before.

Of four candidates of one length the likeliest after the prompt is the answer; all four come from
the same document, so that neither topic nor style tells which. Chance is one in four.

Axes: N questions, C candidates, L length.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from data_pipeline.batches import eval_windows
from data_pipeline.tokens import shards
from mypt_jax.runs import evaluations

CANDIDATES = 4
ANSWER_TOKENS = 16
_RECALL_TOKENS = 200  # between a string and its return, where the context is long enough


@dataclasses.dataclass(frozen=True)
class Task:
    """windows int32[N, C, L + 1], the true candidate first, each ending with ANSWER_TOKENS of its
    own; doc_N int64: the val document of each question."""

    windows: np.ndarray
    doc_N: np.ndarray

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the questions."""
        flat = self.windows.reshape(-1, self.windows.shape[-1])
        doc_WL = np.repeat(self.doc_N, CANDIDATES)[:, None] + np.zeros_like(flat[:, 1:])
        return eval_windows.EvalWindows(flat, doc_WL, "").fingerprint


def choice(source: shards.Source, *, block_size: int, most: int) -> Task | None:
    """Half a window of a document, then what follows it or what stands elsewhere in it.

    Of documents that are kept for the report; at most `most` questions, spread over them. None
    where no document is long enough.
    """
    prompt = block_size // 2

    def question(ids: np.ndarray, start: int, others: Sequence[int]) -> np.ndarray:
        answers = [start + prompt, *others]
        return np.stack(
            [np.concatenate([ids[start : start + prompt], _answer(ids, at)]) for at in answers]
        )

    return _task(source, question, span=prompt + ANSWER_TOKENS, most=most)


def recall(source: shards.Source, *, block_size: int, most: int) -> Task | None:
    """A string, what follows it for 200 tokens (or as the context allows), and the string again or
    another of the document; questions as those of choice."""
    between = min(_RECALL_TOKENS, block_size - 2 * ANSWER_TOKENS)

    def question(ids: np.ndarray, start: int, others: Sequence[int]) -> np.ndarray:
        prompt = ids[start : start + ANSWER_TOKENS + between]
        return np.stack([np.concatenate([prompt, _answer(ids, at)]) for at in (start, *others)])

    # What follows the prompt in the document is skipped: it would be a better answer than the true.
    return _task(source, question, span=2 * ANSWER_TOKENS + between, most=most)


TASKS = {"choice": choice, "recall": recall}


def score(nll: Callable[[np.ndarray], np.ndarray], task: Task) -> evaluations.Source:
    """Scores a task; `nll`: of int32[W, L + 1], nats of every target [W, L].

    Sums per document: `right` answers, and `nll` of the true ones; `tokens_D` counts questions.
    """
    N, C, width = task.windows.shape
    nll_NC = nll(task.windows.reshape(N * C, width))[:, -ANSWER_TOKENS:].sum(-1).reshape(N, C)
    right_N = (nll_NC[:, :1] < nll_NC[:, 1:]).all(-1)
    doc_D, inverse_N = np.unique(task.doc_N, return_inverse=True)
    sums = {"right": right_N.astype(np.float64), "nll": nll_NC[:, 0].astype(np.float64)}
    return evaluations.Source(
        sums={name: np.bincount(inverse_N, weights=x) for name, x in sums.items()},
        tokens_D=np.bincount(inverse_N),
        doc_D=doc_D,
        loss_W=nll_NC[:, 0].astype(np.float64) / ANSWER_TOKENS,
        fingerprint=task.fingerprint,
    )


def _answer(ids: np.ndarray, at: int) -> np.ndarray:
    return ids[at : at + ANSWER_TOKENS]


def _task(source: shards.Source, question: Callable, *, span: int, most: int) -> Task | None:
    """Questions that take `span` tokens of a document, and other answers that follow them."""
    stream = source.stream("val")
    found, docs = [], []
    for number, first, last in eval_windows.kept_documents(source):
        ids = stream.read(first, last)
        # Other answers must not touch the question, nor each other.
        need = span + (CANDIDATES - 1) * ANSWER_TOKENS
        for start in range(0, len(ids) - need + 1, need):
            others = [start + span + n * ANSWER_TOKENS for n in range(CANDIDATES - 1)]
            found.append(question(ids, start, others))
            docs.append(number)
    if not found:
        return None
    keep = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    return Task(np.stack([found[n] for n in keep]), np.array([docs[n] for n in keep], np.int64))
