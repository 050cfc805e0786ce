"""How much of some documents (evaluation) stands in other texts (training), and which passage.

The documents' grams (grams.py) lie on disk, sorted; texts are read once, in any order and however
they are cut, and memory hardly grows with either. A gram that many texts have is a formula: names
of laws, licences, copyright notices. It is counted apart, as GPT-3's authors left out n-grams of
more than ten documents (Brown et al. 2020, arXiv 2005.14165, appendix C).
"""

import array
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_pipeline.similarity import dress, grams, table

_BLOCK = 1 << 20  # rows or slots per step
_MOST_HELD = 64  # batches whose hits are added at once: to add some maps two files
_FORMULA, _FOUND = 1, 2
_TOKEN_LETTERS = 4  # of English with gpt2
_LOW = np.uint64(32)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What counts as found."""

    words: int = 13  # of an n-gram
    run_tokens: int = 50  # of a passage
    formula_documents: int = 10  # or one in a thousand of the texts, where that is more

    def limits(self, texts: int) -> dict:
        """The keyword arguments of `Search.found` and `Search.holders`."""
        formula = max(self.formula_documents, -(-texts // 1000))
        return {"formula_texts": formula, "passage_letters": self.run_tokens * _TOKEN_LETTERS}

    @property
    def gram_letters(self) -> int:
        """The size of a gram."""
        return self.words * grams.WORD_LETTERS


class Index:
    """The documents' grams in a directory: 16 bytes for about 20 letters.

    A slot is a gram in the documents' order. All grams of a short document are one slot: of a copy
    of it inside another text, only some are taken. A document that has something written around its
    words stands there twice, with and without that. Any process may open the directory.
    """

    def __init__(self, directory: Path, *, size: int):
        self.size = size
        self.grams = table.open_table(directory)  # their numbers are slots
        self.slot_starts = table.map_file(directory / "slot_starts", "<i8")  # int64[places + 1]
        self._twice = table.map_file(directory / "twice", "<i8")  # places of documents' second form

    @property
    def places(self) -> int:
        """How many forms of documents there are, those too short for a gram included."""
        return len(self.slot_starts) - 1

    def best(self, shares: np.ndarray) -> np.ndarray:
        """int64[documents]: of each document the place of the larger one of the `shares`."""
        first = np.delete(np.arange(self.places), self._twice)
        found = first.copy()
        has_two = np.searchsorted(first, self._twice) - 1
        is_better = shares[self._twice] > shares[self._twice - 1]
        found[has_two[is_better]] += 1
        return found

    def hits(self, texts: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the grams that texts have, as they are and without what is written around their
        words (dress.py): int64[N] rows of the table, and the texts' numbers.

        Of equal grams it is the first row. A long text comes in several batches, and a pair of it
        may come again.
        """
        for batch in grams.sample(texts, size=self.size, again=dress.marked):
            order = np.argsort(batch.hashes)
            hit, rows = self.grams.first_rows(batch.hashes[order])
            yield rows, batch.documents[order][hit]


def build(texts: Iterable[str], directory: Path, *, size: int) -> Index:
    """Indexes documents, numbered from 0 in their order; the directory holds no other index."""
    both, builder, slots = _Both(texts), table.Builder(directory), 0
    numbers, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in grams.sample(both, size=size):
        opens = ~batch.short | (np.diff(batch.documents, prepend=-1) != 0)
        builder.add(batch.hashes, slots + np.cumsum(opens) - 1)
        slots += int(opens.sum())
        found = np.unique(batch.documents[opens], return_counts=True)
        numbers.append(found[0])
        counts.append(found[1])
    builder.close()
    totals = np.zeros(both.places + 1, np.int64)
    np.add.at(totals, np.concatenate(numbers) + 1, np.concatenate(counts))
    (directory / "twice").write_bytes(np.array(both.twice, "<i8").tobytes())
    (directory / "slot_starts").write_bytes(np.cumsum(totals).astype("<i8").tobytes())
    return Index(directory, size=size)


class _Both:
    """Texts, each followed by itself without its dress where that makes a difference."""

    def __init__(self, texts: Iterable[str]):
        self._texts = texts
        self.places = 0
        self.twice = array.array("q")  # places of those that are the text before again

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.places += 1
            yield text
            plain = dress.taken_off(text)
            if plain != text:
                self.twice.append(self.places)
                self.places += 1
                yield plain


class _Counted:
    """Texts, and how many of them were taken."""

    def __init__(self, texts: Iterable[str]):
        self._texts, self.number = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.number += 1
            yield text


@dataclasses.dataclass(frozen=True)
class Found:
    """What texts have of each document of an index; all int64[documents], in grams."""

    total: np.ndarray  # 0: the document is shorter than a gram
    found: np.ndarray  # in the texts, and not a formula
    formulae: np.ndarray  # in too many of the texts
    passages: np.ndarray  # found in runs that are long enough to be a passage

    @property
    def contained(self) -> np.ndarray:
        """bool[documents]: half of the document or more stands in the texts."""
        return (self.total > 0) & (2 * self.found >= self.total)

    @property
    def mostly_formulae(self) -> np.ndarray:
        """bool[documents]: half or more stands in the texts, but not without formulae."""
        both = self.found + self.formulae
        return (self.total > 0) & (2 * both >= self.total) & ~self.contained

    @property
    def covered(self) -> np.ndarray:
        """int64[documents]: grams of contained documents and of passages."""
        return np.where(self.contained, self.found, self.passages)


class Search:
    """In how many texts each gram of an index stands, and which text had it last.

    With `keep_hits` it also knows which texts hold a passage, for 8 bytes on disk per gram found.
    """

    def __init__(self, index: Index, directory: Path, *, keep_hits: bool = False):
        self.index = index
        self.texts = 0
        self._directory = directory
        for name in ("counts", "last"):
            table.map_file(directory / name, "<u4", new_rows=len(index.grams))
        self._hits = directory / "hits" if keep_hits else None
        if self._hits:
            self._hits.write_bytes(b"")

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """How many texts have each gram, and the number of the last one plus 1.

        Of equal grams the first row counts. Mapped for a moment only: a build may have a search
        for each of thousands of sources, and a map keeps a file open.
        """
        if not len(self.index.grams):
            return np.zeros(0, np.uint32), np.zeros(0, np.uint32)
        counts, last = (
            table.map_file(self._directory / name, "<u4", writable=True)
            for name in ("counts", "last")
        )
        return counts, last

    def add(self, texts: Iterable[str]) -> None:
        """Reads texts, numbered on from those before."""
        counted, held = _Counted(texts), []
        for rows, numbers in self.index.hits(counted):
            held.append((rows, self.texts + numbers))
            if sum(len(one) for one, _ in held) >= _BLOCK or len(held) >= _MOST_HELD:
                self.add_hits(*map(np.concatenate, zip(*held, strict=True)))
                held = []
        if held:
            self.add_hits(*map(np.concatenate, zip(*held, strict=True)))
        self.texts += counted.number

    def add_hits(self, rows: np.ndarray, numbers: np.ndarray) -> None:
        """Takes what `Index.hits` gave, with the numbers that the texts have here.

        They come in the order of the texts, any number of them at a time.
        """
        pairs = np.unique(_pairs(numbers, rows))
        numbers, rows = _split(pairs)
        counts, last = self._columns()
        new = last[rows] != numbers + 1
        np.add.at(counts, rows[new], 1)
        last[rows] = numbers + 1
        if self._hits:
            with open(self._hits, "ab") as file:
                file.write(pairs.tobytes())

    def found(self, *, formula_texts: int, passage_letters: int) -> Found:
        """Returns what the texts have of each document; a gram of so many texts is a formula.

        A passage is so many letters in a row, formulae passed over.
        """
        states, starts = self._states(formula_texts), self.index.slot_starts
        least = _grams_in(passage_letters, self.index.size)
        columns = [np.zeros((3, 0), np.int64)]
        first = 0
        while first < self.index.places:
            last = int(np.searchsorted(starts, starts[first] + _BLOCK, side="right")) - 1
            last = max(last, first + 1)
            block = states[starts[first] : starts[last]]
            columns.append(_of_documents(block, np.diff(starts[first : last + 1]), least))
            first = last
        totals, own = np.diff(starts), np.concatenate(columns, axis=1)
        best = self.index.best(own[0] / np.maximum(1, totals))
        return Found(totals[best], *own[:, best])

    def _states(self, formula_texts: int) -> np.ndarray:
        """uint8[slots]: whether the texts have it, and whether too many of them."""
        states = np.zeros(int(self.index.slot_starts[-1]), np.uint8)
        all_counts, _ = self._columns()
        first = 0
        for start in range(0, len(self.index.grams), _BLOCK):
            hashes = self.index.grams.hashes[max(0, start - 1) : start + _BLOCK]
            differs = hashes[1:] != hashes[:-1]
            differs = differs if start else np.concatenate([[True], differs])
            rows = np.where(differs, np.arange(start, start + len(differs)), first)
            rows = np.maximum.accumulate(rows)
            first = rows[-1]
            counts = all_counts[rows]
            some = np.flatnonzero(counts)
            state = np.where(counts[some] >= formula_texts, _FORMULA, _FOUND).astype(np.uint8)
            np.maximum.at(states, self.index.grams.numbers[start + some], state)
        return states

    def passage(self, text: str, *, formula_texts: int) -> tuple[str, int]:
        """Returns the longest passage of a document that the texts have, and the number of one.

        ("", -1) where they have none.
        """
        found = self._passage(text, formula_texts)
        plain = dress.taken_off(text)
        return found if found[0] or plain == text else self._passage(plain, formula_texts)

    def _passage(self, text: str, formula_texts: int) -> tuple[str, int]:
        batches = list(grams.sample([text], size=self.index.size))
        hashes, starts, stops = (
            np.concatenate([getattr(one, name) for one in batches])
            for name in ("hashes", "starts", "stops")
        )
        hit, rows = self.index.grams.first_rows(hashes)
        counts, last = np.zeros(len(hashes), np.uint32), np.zeros(len(hashes), np.uint32)
        all_counts, all_last = self._columns()
        counts[hit], last[hit] = all_counts[rows], all_last[rows]
        keep = counts < formula_texts
        if any(one.short.any() for one in batches):
            keep &= counts > 0  # not all grams of a short text are taken in a longer one
        starts, stops, last = (column[keep] for column in (starts, stops, last))
        begins, lengths = _runs(counts[keep] > 0, np.zeros(int(keep.sum()), np.int64))
        if not len(begins):
            return "", -1
        run = int(np.argmax(lengths))
        place = slice(int(begins[run]), int(begins[run] + lengths[run]))
        others, often = np.unique(last[place], return_counts=True)
        start, stop = int(starts[place].min()), int(stops[place].max())
        return text[start:stop], int(others[np.argmax(often)]) - 1

    def holders(self, *, formula_texts: int, passage_letters: int) -> np.ndarray:
        """Returns the numbers of the texts that hold a passage of a document, or half of one."""
        assert self._hits, "keep_hits was not asked for"
        states = self._states(formula_texts)
        least = _grams_in(passage_letters, self.index.size)
        found, rest = [np.zeros(0, np.int64)], np.zeros(0, "<u8")
        with open(self._hits, "rb") as file:
            while True:
                block = np.fromfile(file, "<u8", _BLOCK)
                pairs = np.unique(np.concatenate([rest, block]))
                # The last text may go on in the next block.
                whole = len(pairs)
                if len(block):
                    whole = int(np.searchsorted(pairs, pairs[-1] >> _LOW << _LOW))
                found.append(self._holding(pairs[:whole], states, least))
                rest = pairs[whole:]
                if not len(block):
                    return np.concatenate(found)

    def _holding(self, pairs: np.ndarray, states: np.ndarray, least: int) -> np.ndarray:
        numbers, rows = _split(pairs)
        slots, owners = self.index.grams.numbers_at(rows)
        numbers, slots = _split(np.unique(_pairs(numbers[owners], slots)))
        documents = np.searchsorted(self.index.slot_starts, slots, "right") - 1
        is_found = states[slots] == _FOUND
        same = np.zeros(len(slots), bool)
        same[1:] = (numbers[1:] == numbers[:-1]) & (documents[1:] == documents[:-1])
        goes_on = same.copy()
        goes_on[1:] &= np.diff(slots) == 1
        half = (np.diff(self.index.slot_starts)[documents] + 1) // 2
        holds = _sums(is_found, ~same) >= half
        holds |= _sums(is_found, ~goes_on) >= least
        return np.unique(numbers[holds])


def _pairs(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """uint64[N] of two numbers below 2^32, ordered by the first."""
    return high.astype("<u8") << _LOW | low.astype("<u8")


def _split(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (pairs >> _LOW).astype(np.int64), pairs.astype(np.uint32).astype(np.int64)


def _grams_in(letters: int, size: int) -> int:
    """How many grams are taken of so many letters, on average."""
    return max(1, 2 * (letters - size) // (grams.WINDOW + 1))


def _sums(hits: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """int64[N]: for each element the hits of the group that it is in."""
    groups = np.cumsum(begins) - 1
    return np.bincount(groups[hits], minlength=int(begins.sum()))[groups]


def _of_documents(states: np.ndarray, sizes: np.ndarray, least: int) -> np.ndarray:
    """int64[3, documents]: grams found, formulae, grams found in runs of `least`."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    found = np.bincount(numbers[states == _FOUND], minlength=len(sizes))
    formulae = np.bincount(numbers[states == _FORMULA], minlength=len(sizes))
    keep = states != _FORMULA
    begins, lengths = _runs(states[keep] == _FOUND, numbers[keep])
    passages = np.zeros(len(sizes), np.int64)
    np.add.at(passages, numbers[keep][begins], np.where(lengths >= least, lengths, 0))
    return np.stack([found, formulae, passages])


def _runs(hits: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of hits of one owner begin, and their lengths."""
    goes_on = np.zeros(len(hits), bool)
    goes_on[1:] = hits[:-1] & (owners[1:] == owners[:-1])
    begins = hits & ~goes_on
    lengths = np.bincount(np.cumsum(begins)[hits] - 1, minlength=int(begins.sum()))
    return np.flatnonzero(begins), lengths
