"""What a model says by heart: the beginnings of documents continued greedily, against their text.

A continuation of 50 tokens that is the document's own is called extracted, after Carlini et al.
2023, "Quantifying memorization across neural language models". Held-out text beside what was
trained on says how much of it any model of the language would guess.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import UserError
from data_pipeline.tokens import check as text_check
from data_pipeline.tokens import shards, texts
from mypt_jax import exits
from mypt_jax.evaluate import generator
from mypt_jax.model import sampling
from mypt_jax.runs import layout

TOKENS = 50  # of a prompt, and of its continuation; half a context where that is shorter
EXAMPLES = 3
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

    def recite(
        self, source: shards.Source, split: str, *, most: int, batch_size: int
    ) -> Recited | None:
        """Asks for `most` documents, spread over the split; None where none is long enough."""
        rows = _rows(source, split, eot=self.tokenizer.eot, length=2 * self.tokens, most=most)
        if not len(rows):
            return None
        prompts, wanted = rows[:, : self.tokens], rows[:, self.tokens :]
        said: list[list[int]] = []
        for start in range(0, len(rows), batch_size):
            made = self._generator.generate(
                prompts[start : start + batch_size].tolist(),
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


class Asked(NamedTuple):
    """What a run and its base say of datasets; `rows` as of runs/recited.py."""

    path: str
    step: int
    run_id: str
    tokens: int
    rows: list[dict]
    note: str  # why the base was not asked, or empty


def ask(spec: str, data: Sequence[str], *, most: int, batch_size: int) -> Asked:
    """Asks the run PATH, PATH@STEP or PATH@best, and the base of its lineage, for at most so many
    documents of each split. Raises UserError and NoValidState."""
    datasets = [shards.open_dataset(one) for one in data]
    path, step = layout.resolve_step(spec)
    sources = [source for one in datasets for source in one.sources.values()]
    text_check.check((source, split) for source in sources for split in shards.SPLITS)
    record, note, rows = layout.record_at(path, step), "", []
    specs = {"run": f"{path}@{step}"}
    if base := base_of(record):
        specs["base"] = base
    tokens = 0
    for who, one in specs.items():
        try:
            reciter = Reciter(one)
        except (UserError, exits.NoValidState) as error:
            if who == "run":
                raise
            note = f"the base was not asked: {error}"
            continue
        tokens = reciter.tokens
        for dataset in datasets:
            check(dataset, reciter)
            for source in dataset.sources.values():
                for split in shards.SPLITS:
                    found = reciter.recite(source, split, most=most, batch_size=batch_size)
                    if found:
                        of = {"data": f"{dataset.path}#{source.name}", "split": split, "who": who}
                        rows.append({**of, **found._asdict()})
    if not rows:
        raise UserError(f"no document has {2 * tokens} tokens to be asked for")
    rows.sort(key=lambda row: (row["data"], row["split"], row["who"]))
    return Asked(path, step, record["run_id"], tokens, rows, note)


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


def _rows(source: shards.Source, split: str, *, eot: int, length: int, most: int) -> np.ndarray:
    """The first tokens of documents that have as many, int32[N, length], EOT left out."""
    stream = source.stream(split)
    ends = texts.ends_of(source, split, eot=eot)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    starts = starts[ends - starts > length]
    if len(starts) > most:
        starts = starts[(2 * np.arange(most) + 1) * len(starts) // (2 * most)]
    rows = [stream[int(start) : int(start) + length] for start in starts]
    return np.stack(rows) if rows else np.zeros((0, length), np.int32)
