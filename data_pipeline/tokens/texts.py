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
        hashes = np.zeros(0, np.uint64)
        if source.storage == mypt_format.STORAGE:
            ends = self._ends_by_token()
        else:
            ends, hashes = self._stream.doc_ends.astype(np.int64), self._stream.doc_hashes
        self._ends = np.concatenate([[0], ends])
        self._hashes = hashes

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

    def _ends_by_token(self) -> np.ndarray:
        found = [np.zeros(0, np.int64)]
        for start in range(0, len(self._stream), _BLOCK):
            block = self._stream[start : start + _BLOCK]
            found.append(np.flatnonzero(block == self._vocabulary.eot) + start + 1)
        ends = np.concatenate(found)
        if len(self._stream) > (ends[-1] if len(ends) else 0):
            ends = np.append(ends, len(self._stream))
        return ends
