"""Texts -> token ids with their hashes, on several threads (tiktoken works without the GIL)."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from concurrent import futures

import numpy as np

from data_pipeline import errors, hashing, tokenizer

# Large enough that handing over a batch costs nothing, small enough to bound what is in flight.
_BATCH_CHARS = 1 << 18
_BATCH_TEXTS = 1024


@dataclasses.dataclass(frozen=True)
class Text:
    """A text to encode; texts with the same split_key end on the same side (empty: its own)."""

    source: str
    text: str
    split_key: str
    origin: str  # for messages: file and position, or the document's id


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An encoded text: `tokens` end with end-of-text."""

    source: str
    doc_hash: int
    split_hash: int
    tokens: np.ndarray
    text_bytes: int


def encode_all(
    texts: Iterable[Text], *, vocabulary: tokenizer.Tokenizer, workers: int
) -> Iterator[Encoded]:
    """Yields every text encoded, in order; raises UserError for text that UTF-8 cannot hold."""
    batches = _batches(texts)
    if workers <= 1:
        for batch in batches:
            yield from _encode(batch, vocabulary)
        return
    with futures.ThreadPoolExecutor(workers, thread_name_prefix="tokenise") as pool:
        waiting: collections.deque[futures.Future] = collections.deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_encode, batch, vocabulary))
                if len(waiting) > 3 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    batch: list[Text] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text.text)
        if chars >= _BATCH_CHARS or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _encode(batch: list[Text], vocabulary: tokenizer.Tokenizer) -> list[Encoded]:
    encoded = []
    for text in batch:
        try:
            content = text.text.encode()
        except UnicodeEncodeError as error:
            raise errors.UserError(
                f"{text.origin}: a lone surrogate U+{ord(text.text[error.start]):04X} at character "
                f"{error.start}: mend the text, or pass --bad_text=replace"
            ) from None
        ids = vocabulary.encode_uint32(text.text)
        tokens = np.empty(len(ids) + 1, vocabulary.dtype)
        tokens[:-1] = ids
        tokens[-1] = vocabulary.eot
        doc_hash = hashing.bytes_hash(content)
        key = text.split_key or f"{doc_hash:016x}"
        encoded.append(
            Encoded(text.source, doc_hash, hashing.split_hash(key), tokens, len(content))
        )
    return encoded
