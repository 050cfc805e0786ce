"""What a model says by heart: the beginnings of documents continued greedily, against their text.

A continuation of 50 tokens that is the document's own is called extracted, after Carlini et al.
2023, "Quantifying memorization across neural language models". Held-out text beside what was
trained on says how much of it any model of the language would guess.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.evaluate import generator
from mypt_jax.model import sampling

TOKENS = 50  # of a prompt, and of its continuation; half a context where that is shorter
EXAMPLES = 3
_BATCH = 8
_GREEDY = sampling.Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


class Recited(NamedTuple):
    """What became of the documents of one split."""

    documents: int
    exact: int  # continued by their own text, all of it
    matched: float  # tokens until the first other one, mean over the documents
    examples: list[str]  # continuations that were exact, or came nearest to it

    @property
    def share(self) -> float:
        return self.exact / self.documents


class Reciter:
    """A run's model, ready to be asked."""

    def __init__(self, spec: str):
        """`spec`: PATH, PATH@STEP or PATH@best. Raises UserError and NoValidState."""
        self._generator, self.tokenizer = generator.load(spec)
        self.tokens = min(TOKENS, self._generator.block_size // 2)

    def recite(self, source: shards.Source, split: str, *, most: int) -> Recited | None:
        """Asks for `most` documents, spread over the split; None where none is long enough."""
        rows = _rows(source, split, length=2 * self.tokens, most=most)
        if not len(rows):
            return None
        prompts, wanted = rows[:, : self.tokens], rows[:, self.tokens :]
        said: list[list[int]] = []
        for start in range(0, len(rows), _BATCH):
            made = self._generator.generate(
                prompts[start : start + _BATCH].tolist(),
                max_new_tokens=self.tokens,
                sampling=_GREEDY,
                seed=0,
            )
            said += made.tokens
        matched = np.array([_matched(one, own) for one, own in zip(said, wanted, strict=True)])
        nearest = np.argsort(-matched, kind="stable")[:EXAMPLES]
        return Recited(
            documents=len(rows),
            exact=int((matched == self.tokens).sum()),
            matched=float(matched.mean()),
            examples=[self.tokenizer.decode(said[i][: matched[i]]) for i in nearest if matched[i]],
        )


def check(dataset: shards.Dataset, reciter: Reciter) -> None:
    """Raises UserError where a dataset is not of the run's tokenizer."""
    if dataset.tokenizer_sha256 != reciter.tokenizer.sha256:
        raise UserError(
            f"dataset {dataset.path} was made with tokenizer {dataset.tokenizer}, the run has "
            f"{reciter.tokenizer.name}; prepare it again"
        )
    dataset.check_ids(reciter.tokenizer)


def base_of(record: Mapping) -> str:
    """The run that a lineage begins with, as PATH@STEP; "" for one that began here."""
    above = record["ancestors"]
    return f"{above[0]['path']}@{above[0]['step']}" if above else ""


def _matched(said: list[int], wanted: np.ndarray) -> int:
    """How many tokens were the document's own before the first that was not."""
    own = np.array(said[: len(wanted)]) == wanted[: len(said)]
    return int(np.cumprod(own).sum())


def _rows(source: shards.Source, split: str, *, length: int, most: int) -> np.ndarray:
    """The first tokens of documents that have as many, int32[N, length], EOT left out."""
    stream = source.stream(split)
    ends = stream.doc_ends.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    starts = starts[ends - starts > length]
    if len(starts) > most:
        starts = starts[(2 * np.arange(most) + 1) * len(starts) // (2 * most)]
    rows = [stream[int(start) : int(start) + length] for start in starts]
    return np.stack(rows) if rows else np.zeros((0, length), np.int32)
