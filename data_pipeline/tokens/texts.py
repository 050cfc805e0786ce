"""A split's documents as texts again: the tokens hold every character of them."""

from collections.abc import Iterator

import numpy as np

from data_pipeline.tokens import mypt_format, shards, tokenizer

_BLOCK = 1 << 20  # tokens looked through for ends of documents at a time


class Texts:
    """The documents of a split; `len`, by number, or in order.

    The original's directories keep no document ends: there a document ends at each end-of-text.
    """

    def __init__(self, source: shards.Source, split: str, vocabulary: tokenizer.Tokenizer):
        self._stream = source.stream(split)
        self._vocabulary = vocabulary
        self._ends = np.concatenate([[0], ends_of(source, split, eot=vocabulary.eot)])
        self._hashes = self._stream.doc_hashes

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        tokens = self._stream[int(self._ends[number]) : int(self._ends[number + 1])]
        if len(tokens) and tokens[-1] == self._vocabulary.eot:
            tokens = tokens[:-1]
        if len(tokens) and tokens[0] == self._vocabulary.document_bos:
            tokens = tokens[1:]
        # Control tags that the original appended to GPT-2's ids stand for no text.
        first_tag = self._vocabulary.vocab_size - len(self._vocabulary.tags)
        return self._vocabulary.decode(tokens[tokens < first_tag])

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def distinct(self) -> np.ndarray:
        """int64[N]: the numbers of the documents; of equal ones, as of `--repeat`, the first."""
        if len(self._hashes) != len(self):
            return np.arange(len(self))
        return np.sort(np.unique(self._hashes, return_index=True)[1])

    def tokens(self, numbers: np.ndarray) -> np.ndarray:
        """int64[N]: how many tokens the documents of these numbers have."""
        return self._ends[numbers + 1] - self._ends[numbers]


def ends_of(source: shards.Source, split: str, *, eot: int) -> np.ndarray:
    """int64[documents]: where each document of a split ends, its end-of-text included."""
    stream = source.stream(split)
    if source.storage != mypt_format.STORAGE:
        return stream.doc_ends.astype(np.int64)
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(stream), _BLOCK):
        found.append(np.flatnonzero(stream[start : start + _BLOCK] == eot) + start + 1)
    ends = np.concatenate(found)
    if len(stream) > (ends[-1] if len(ends) else 0):
        ends = np.append(ends, len(stream))
    return ends
