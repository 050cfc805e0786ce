"""Near-duplicates across an append: a new text is on the side of the old one that it resembles."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from data_pipeline.corpus import dedup
from data_pipeline.prepare import selection, spill
from data_pipeline.similarity import resemblance
from data_pipeline.tokens import shards, texts, tokenizer

# New texts in hand: content hash and text, again for each time they are gone through.
_New = Callable[[], Iterator[tuple[int, str]]]


class Sides:
    """The documents of a dataset that others are appended to."""

    def __init__(self, dataset: shards.Dataset, vocabulary: tokenizer.Tokenizer, work: Path):
        self._dataset, self._vocabulary, self._work = dataset, vocabulary, work

    def decide(
        self, store: spill.Spill, chosen: dict[str, selection.Selection]
    ) -> dict[str, selection.Selection]:
        """Returns the selections with new texts on the side of old ones of Jaccard 0.5 or more.

        Those that resemble old texts on both sides are left out. Reads all text of the dataset
        where some of the new is val, else its val text only.
        """
        near_val = self._new_like_old("val", lambda: self._new(store, chosen))
        new_val = [one.val_docs for one in chosen.values()]
        in_val = np.union1d(np.concatenate(new_val), near_val) if new_val else near_val
        # Train is the large split: it is read only where a new text would stand in val.
        near_train = self._like_old_train(store, chosen, in_val) if len(in_val) else _none()
        # On either side such a text would put the other side's words across the split.
        torn = np.intersect1d(near_val, near_train)
        return {
            source: self._moved(one, store, near_val, near_train, torn)
            for source, one in chosen.items()
        }

    def _moved(
        self,
        one: selection.Selection,
        store: spill.Spill,
        near_val: np.ndarray,
        near_train: np.ndarray,
        torn: np.ndarray,
    ) -> selection.Selection:
        moved = dataclasses.replace(
            one,
            to_val=np.setdiff1d(near_val, torn),
            to_train=np.setdiff1d(near_train, torn),
        )
        val_docs, val_tokens, torn_here, moved_here = [_none()], 0, 0, 0
        for _, rows, sizes in selection.take(
            store, one.source, limit_tokens=one.limit_tokens, excluded=one.excluded
        ):
            is_torn = np.isin(rows["doc"], torn)
            is_val = moved.is_val(rows) & ~is_torn
            torn_here += int(is_torn.sum())
            moved_here += int(((is_val != one.is_val(rows)) & ~is_torn).sum())
            val_docs.append(rows["doc"][is_val])
            val_tokens += int(sizes[is_val].sum())
        return dataclasses.replace(
            moved,
            val_docs=np.sort(np.concatenate(val_docs)),
            val_tokens=val_tokens,
            excluded=np.union1d(one.excluded, torn),
            torn=torn_here,
            moved=moved_here,
        )

    def _new(
        self, store: spill.Spill, chosen: dict[str, selection.Selection]
    ) -> Iterator[tuple[int, str]]:
        for source, one in chosen.items():
            taken = selection.take(
                store, source, limit_tokens=one.limit_tokens, excluded=one.excluded
            )
            for bucket, rows, sizes in taken:
                tokens = store.tokens(source, bucket)
                for row, size in zip(rows, sizes.tolist(), strict=True):
                    start = int(row["offset"])
                    yield int(row["doc"]), self._vocabulary.decode(tokens[start : start + size - 1])

    def _old(self, split: str) -> Iterator[texts.Texts]:
        for source in self._dataset.sources.values():
            if source.tokens[split]:
                yield texts.Texts(source, split, self._vocabulary)

    def _new_like_old(self, split: str, new: _New) -> np.ndarray:
        """Content hashes of the new texts that resemble an old one of a split, sorted."""
        old = list(self._old(split))
        numbered = [(part, number) for part, one in enumerate(old) for number in range(len(one))]

        def again(document: int) -> str:
            part, number = numbered[document]
            return old[part][number]

        with tempfile.TemporaryDirectory(dir=self._work) as place:
            index = resemblance.Index(map(again, range(len(numbered))), Path(place), again=again)
            hashes: list[int] = []
            like = index.resembling(_texts(new(), hashes), min_jaccard=dedup.SPLIT_JACCARD)
            return np.unique(np.array([hashes[number] for number in like], np.uint64))

    def _like_old_train(
        self, store: spill.Spill, chosen: dict[str, selection.Selection], wanted: np.ndarray
    ) -> np.ndarray:
        """Content hashes of the new texts among `wanted` that resemble an old one of train."""
        hashes: list[int] = []
        kept: dict[int, str] = {}

        def in_val() -> Iterator[str]:
            for doc, text in self._new(store, chosen):
                if doc in among and doc not in kept:
                    hashes.append(doc)
                    kept[doc] = text
                    yield text

        among = set(wanted.tolist())
        with tempfile.TemporaryDirectory(dir=self._work) as place:
            index = resemblance.Index(
                in_val(), Path(place), again=lambda number: kept[hashes[number]]
            )
            found = {
                hashes[pair.document]
                for old in self._old("train")
                for pair in index.near_duplicates(old, min_jaccard=dedup.SPLIT_JACCARD)
            }
        return np.array(sorted(found), np.uint64)


def _texts(numbered: Iterable[tuple[int, str]], hashes: list[int]) -> Iterator[str]:
    for doc, text in numbered:
        hashes.append(doc)
        yield text


def _none() -> np.ndarray:
    return np.zeros(0, np.uint64)
