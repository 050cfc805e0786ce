"""Evaluation text inside training text: datasets compared as texts, whatever their tokenizers."""

import bisect
import contextlib
import dataclasses
import errno
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.batches import mixture
from data_pipeline.corpus import runner
from data_pipeline.prepare import near_duplicates
from data_pipeline.similarity import containment
from data_pipeline.tokens import texts as token_texts

_TASK_TOKENS = 4_000_000  # that a worker looks through at a time
_EXAMPLE_CHARS = 300


@dataclasses.dataclass(frozen=True)
class Documents:
    """The distinct documents of a split of a source, or a `share` of them, evenly spread."""

    component: mixture.Component
    split: str
    share: float = 1.0

    def __str__(self) -> str:
        return f"{self.component.dataset.path}#{self.component.source} {self.split}"

    def open(self) -> tuple[token_texts.Texts, np.ndarray]:
        """Returns all documents of the split, and the numbers of these (int64[N])."""
        one = self.component
        every = token_texts.Texts(one.data, self.split, one.dataset.vocabulary())
        distinct = every.distinct()
        count = min(len(distinct), max(1, int(len(distinct) * self.share)))
        return every, distinct[np.linspace(0, len(distinct) - 1, count).astype(np.int64)]


@dataclasses.dataclass(frozen=True)
class Example:
    """An evaluated document, its longest passage in the training text, and where that is."""

    document: int
    share: float  # of the document
    passage: str
    train_document: int


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How much of an evaluated split stands in a trained source."""

    documents: int
    too_short: int  # shorter than an n-gram: not looked for
    contained: int  # half of the document or more
    formulae: int  # half or more, but with what many train documents have
    share: float  # of the evaluated text, in contained documents and passages
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class NearDuplicate:
    """An evaluated document and a train document of at least so much similarity."""

    train: Documents
    evaluated: Documents
    document: int
    train_document: int
    jaccard: float
    text: str  # of the evaluated document, its beginning


def compare(
    train: Sequence[Documents],
    evaluated: Sequence[Documents],
    settings: containment.Settings,
    *,
    workers: int,
    examples: int,
) -> list[list[Overlap]]:
    """Returns for each trained source the overlap with each evaluated split."""
    overlaps = []
    with _work_dir() as directory:
        sought = Sought(evaluated)
        index = containment.build(sought, directory, size=settings.gram_letters)
        for one in train:
            with tempfile.TemporaryDirectory(dir=directory) as work:
                search, documents = _searched(index, directory, one, Path(work), workers)
                limits = settings.limits(documents)
                found = search.found(**limits)
                shown = [
                    sought.examples(part, found, search, limits["formula_texts"], examples)
                    for part in range(len(evaluated))
                ]
                overlaps.append([sought.overlap(p, found, each) for p, each in enumerate(shown)])
    return overlaps


def near_duplicates_of(
    train: Sequence[Documents], evaluated: Sequence[Documents], *, min_jaccard: float
) -> list[NearDuplicate]:
    """Returns for each trained source the evaluated documents that one of its resembles."""
    near_duplicates.check_available()
    from data_pipeline.similarity import resemblance

    found = []
    sought = Sought(evaluated)
    with _work_dir() as directory:
        index = resemblance.Index(sought, directory, again=sought.text)
        for one in train:
            every, numbers = one.open()
            texts = map(every.__getitem__, numbers.tolist())
            for pair in index.near_duplicates(texts, min_jaccard=min_jaccard):
                part, document = sought.locate(pair.document)
                text = sought.text(pair.document)[:_EXAMPLE_CHARS]
                other = int(numbers[pair.text])
                found.append(
                    NearDuplicate(one, evaluated[part], document, other, pair.jaccard, text)
                )
    return found


@contextlib.contextmanager
def _work_dir() -> Iterator[Path]:
    """A directory for what is sorted on disk; UserError where there is none or it has no room."""
    try:
        place = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise errors.UserError(f"comparing texts: {error.strerror}: name one in TMPDIR") from None
    try:
        with tempfile.TemporaryDirectory(prefix="contamination_") as directory:
            yield Path(directory)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise errors.UserError(
            f"no room in {place} to compare texts ({error.strerror}): free some, or name another "
            "directory in TMPDIR"
        ) from None


class Sought:
    """The evaluated documents, numbered through."""

    def __init__(self, evaluated: Sequence[Documents]):
        self._opened = [one.open() for one in evaluated]
        self._starts = [0, *itertools.accumulate(len(numbers) for _, numbers in self._opened)]

    def __iter__(self) -> Iterator[str]:
        for every, numbers in self._opened:
            yield from map(every.__getitem__, numbers.tolist())

    def locate(self, number: int) -> tuple[int, int]:
        """Which split a document is of, and its number there."""
        part = bisect.bisect_right(self._starts, number) - 1
        return part, int(self._opened[part][1][number - self._starts[part]])

    def text(self, number: int) -> str:
        """A document by its number among all."""
        part, own = self.locate(number)
        return self._opened[part][0][own]

    def _of(self, part: int, column: np.ndarray) -> np.ndarray:
        return column[self._starts[part] : self._starts[part + 1]]

    def overlap(self, part: int, found: containment.Found, examples: tuple) -> Overlap:
        """What was found of a split."""
        total, covered = self._of(part, found.total), self._of(part, found.covered)
        return Overlap(
            documents=len(total),
            too_short=int((total == 0).sum()),
            contained=int(self._of(part, found.contained).sum()),
            formulae=int(self._of(part, found.mostly_formulae).sum()),
            share=float(covered.sum() / max(1, total.sum())),
            examples=examples,
        )

    def examples(
        self,
        part: int,
        found: containment.Found,
        search: containment.Search,
        formula_texts: int,
        count: int,
    ) -> tuple[Example, ...]:
        """The documents of a split of which most is found."""
        total, covered = self._of(part, found.total), self._of(part, found.covered)
        chosen = []
        for place in np.argsort(-covered, kind="stable")[:count].tolist():
            if not covered[place]:
                break
            number = self._starts[part] + place
            passage, other = search.passage(self.text(number), formula_texts=formula_texts)
            shown = " ".join(passage.split())[:_EXAMPLE_CHARS]
            share = float(covered[place] / total[place])
            chosen.append(Example(self.locate(number)[1], share, shown, other))
        return tuple(chosen)


@dataclasses.dataclass(frozen=True)
class _Task:
    """Some documents of a split, looked through by one worker."""

    documents: Documents
    numbers: np.ndarray
    index_dir: Path
    size: int
    result: Path


def _searched(
    index: containment.Index, index_dir: Path, train: Documents, work: Path, workers: int
) -> tuple[containment.Search, int]:
    """Looks a source through, by several processes if there is much; returns its documents."""
    every, numbers = train.open()
    parts = np.cumsum(every.tokens(numbers)) // _TASK_TOKENS
    tasks = [
        _Task(train, part, index_dir, index.size, work / f"hits_{i}")
        for i, part in enumerate(np.split(numbers, np.flatnonzero(np.diff(parts)) + 1))
    ]
    runner.run(_look_through, tasks, runner="local", workers=workers, progress=lambda done: None)
    search = containment.Search(index, work)
    for task in tasks:
        rows, found_in = np.fromfile(task.result, np.int64).reshape(2, -1)
        search.add_hits(rows, task.numbers[found_in])
    return search, len(numbers)


def _look_through(task: _Task) -> None:
    index = containment.Index(task.index_dir, size=task.size)
    every, _ = task.documents.open()
    hits = [np.zeros((2, 0), np.int64)]
    hits += map(np.stack, index.hits(map(every.__getitem__, task.numbers.tolist())))
    task.result.write_bytes(np.concatenate(hits, axis=1).tobytes())
