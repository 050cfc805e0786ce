"""Which documents (evaluation) have a near-duplicate among other texts (training).

MinHash bands of the documents lie on disk (table.py); a pair that shares one is compared by its
true Jaccard similarity. Containment (containment.py) finds copies that have other text around them;
this finds texts of which a word here and there was changed.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from data_pipeline.similarity import minhash, table

_BATCH_TEXTS = 256
_CACHED_SETS = 1024


@dataclasses.dataclass(frozen=True)
class Pair:
    """A document and the first text that resembles it so much."""

    document: int
    text: int
    jaccard: float


class Index:
    """The bands of documents, on disk; a document's text is asked for again to be compared."""

    def __init__(self, texts: Iterable[str], directory: Path, *, again: Callable[[int], str]):
        builder = table.Builder(directory)
        for number, text in enumerate(texts):
            keys = minhash.band_keys(minhash.shingles(text))
            builder.add(keys[keys != 0], np.full(int((keys != 0).sum()), number))
        self._bands = builder.close()
        self._again = again
        self._sets: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()

    def near_duplicates(self, texts: Iterable[str], *, min_jaccard: float) -> list[Pair]:
        """Returns a pair for each document that one of the texts resembles, by document."""
        found: dict[int, Pair] = {}
        for text, own, candidates in self._candidates(texts):
            for document in candidates:
                if document not in found:
                    jaccard = minhash.jaccard(own, self._shingles(document))
                    if jaccard >= min_jaccard:
                        found[document] = Pair(document, text, jaccard)
        return [found[document] for document in sorted(found)]

    def resembling(self, texts: Iterable[str], *, min_jaccard: float) -> list[int]:
        """Returns the numbers of the texts that resemble one of the documents."""
        return [
            text
            for text, own, candidates in self._candidates(texts)
            if any(minhash.jaccard(own, self._shingles(one)) >= min_jaccard for one in candidates)
        ]

    def _candidates(self, texts: Iterable[str]) -> Iterator[tuple[int, np.ndarray, list[int]]]:
        """Yields (number of a text, its shingles, documents that share a band with it)."""
        numbered = enumerate(texts)
        while batch := list(itertools.islice(numbered, _BATCH_TEXTS)):
            sets = [minhash.shingles(text) for _, text in batch]
            keys = np.concatenate([minhash.band_keys(one) for one in sets])
            hit, first = self._bands.first_rows(keys)
            documents, owners = self._bands.numbers_at(first)
            places = np.flatnonzero(hit)[owners] // minhash.KEYS
            pairs = sorted(set(zip(places.tolist(), documents.tolist(), strict=True)))
            for place, of_text in itertools.groupby(pairs, key=lambda pair: pair[0]):
                yield batch[place][0], sets[place], [document for _, document in of_text]

    def _shingles(self, document: int) -> np.ndarray:
        if document in self._sets:
            self._sets.move_to_end(document)
            return self._sets[document]
        if len(self._sets) >= _CACHED_SETS:
            self._sets.popitem(last=False)
        self._sets[document] = found = minhash.shingles(self._again(document))
        return found
