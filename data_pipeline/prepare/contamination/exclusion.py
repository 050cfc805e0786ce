"""Which texts of a build hold text of other datasets, so that they can be left out."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipeline import hashing
from data_pipeline.batches import mixture
from data_pipeline.prepare import tokenise
from data_pipeline.prepare.contamination import compare
from data_pipeline.similarity import containment
from data_pipeline.tokens import shards

_BATCH_CHARS = 1 << 20


class _Source(NamedTuple):
    search: containment.Search
    hashes: list[int]


class Exclusion:
    """Looks at texts as they pass; what many texts of a source have holds none of them back."""

    def __init__(self, directories: Sequence[Path], work: Path):
        self._settings = containment.Settings()
        self._work = work
        documents = [
            compare.Documents(one, split)
            for directory in directories
            for one in mixture.components_of("general", [str(directory)])
            for split in shards.SPLITS
            if one.data.tokens[split]
        ]
        work.mkdir(parents=True)
        sought = compare.Sought(documents)
        self._index = containment.build(sought, work, size=self._settings.gram_letters)
        self._sources: dict[str, _Source] = {}

    def watch(self, texts: Iterable[tokenise.Text]) -> Iterator[tokenise.Text]:
        """Yields the texts as they come."""
        batch: list[tokenise.Text] = []
        chars = 0
        for text in texts:
            batch.append(text)
            chars += len(text.text)
            if chars >= _BATCH_CHARS:
                self._look(batch)
                yield from batch
                batch, chars = [], 0
        self._look(batch)
        yield from batch

    def _look(self, batch: list[tokenise.Text]) -> None:
        for name, own in itertools.groupby(batch, key=lambda text: text.source):
            texts = [text.text for text in own]
            if name not in self._sources:
                place = Path(tempfile.mkdtemp(dir=self._work))
                search = containment.Search(self._index, place, keep_hits=True)
                self._sources[name] = _Source(search, [])
            search, hashes = self._sources[name]
            search.add(texts)
            hashes += map(hashing.text_hash, texts)

    def holding(self, source: str) -> np.ndarray:
        """Returns the content hashes of a source's texts that are to be left out, sorted."""
        if source not in self._sources:
            return np.zeros(0, np.uint64)
        search, hashes = self._sources[source]
        holders = search.holders(**self._settings.limits(len(hashes)))
        return np.unique(np.array(hashes, np.uint64)[holders])
