"""Texts -> token ids with their hashes: in this process, for larger input in several, or by Ray."""

import collections
import contextlib
import dataclasses
import itertools
import multiprocessing
import queue
import signal
from collections.abc import Iterable, Iterator
from concurrent import futures
from multiprocessing import connection
from typing import Any

import numpy as np

from data_pipeline import errors, hashing
from data_pipeline.corpus.runner import default_workers
from data_pipeline.tokens import tokenizer

# Large enough that handing over a batch costs nothing, small enough to bound what is in flight.
_BATCH_CHARS = 1 << 18
_BATCH_TEXTS = 1024
# What goes to another machine: a quarter of a second of work, beside a millisecond for the way.
_CLUSTER_CHARS = 1 << 22
# Starting a process costs as much as encoding ten million characters: less needs no second one.
_ALONE_CHARS = 1 << 24

TABLE = np.dtype([(name, "<u8") for name in ("doc", "split", "tokens", "text_bytes")])


@dataclasses.dataclass(frozen=True)
class Text:
    """A text to encode; texts with the same split_key end on the same side (empty: its own)."""

    source: str
    text: str
    split_key: str
    origin: str  # for messages: file and position, or the document's id


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A batch of encoded texts: their sources, one row of `table` for each, and all their tokens.

    The tokens of a text end with end-of-text, and begin with BOS where its vocabulary says so; text
    i + 1 follows text i.
    """

    sources: list[str]
    table: np.ndarray  # TABLE[N]: content hash, split hash, number of tokens, UTF-8 bytes
    tokens: np.ndarray


def encode_all(
    texts: Iterable[Text], *, vocabulary: tokenizer.Tokenizer, workers: int, runner: str = "local"
) -> Iterator[Encoded]:
    """Yields every text encoded, in order; raises UserError for text that UTF-8 cannot hold."""
    if runner == "ray":
        from data_pipeline.corpus import ray_runner  # Ray is in requirements-ray.txt only

        wanted = _identity(vocabulary)
        batches = _batches(texts, max_chars=_CLUSTER_CHARS)
        yield from map(_or_raised, ray_runner.stream(_encode_there, batches, wanted))
        return
    batches, chars = _batches(texts, max_chars=_BATCH_CHARS), 0
    # On one core a second process only takes turns with the first.
    workers = min(workers, default_workers())
    for batch in batches:
        yield encode(batch, vocabulary)
        chars += sum(len(text.text) for text in batch)
        if workers > 1 and chars >= _ALONE_CHARS:
            break
    for batch in batches:
        yield from _in_processes(itertools.chain([batch], batches), vocabulary, workers)


def _in_processes(
    batches: Iterator[list[Text]], vocabulary: tokenizer.Tokenizer, workers: int
) -> Iterator[Encoded]:
    """Processes and not threads: two threads disturb each other, and cost a tenth more time."""
    with contextlib.ExitStack() as stack:
        started: list[connection.Connection] = []
        while len(started) < workers:
            # Half of them at a time: those that start share the cores with what goes on here.
            for _ in range(min(max(1, workers // 2), workers - len(started))):
                started.append(stack.enter_context(_process(vocabulary)))
            while not all(ours.poll() for ours in started):
                batch = next(batches, None)
                if batch is None:
                    return
                yield encode(batch, vocabulary)
        idle: queue.SimpleQueue = queue.SimpleQueue()
        for ours in started:
            _receive(ours)
            idle.put(ours)
        # A thread for each process, which only waits for it.
        pool = stack.enter_context(futures.ThreadPoolExecutor(workers, "tokenise"))
        waiting: collections.deque[futures.Future] = collections.deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_ask, idle, batch))
                if len(waiting) > 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def _process(vocabulary: tokenizer.Tokenizer) -> Iterator[connection.Connection]:
    """Starts a process that encodes; yields the connection to it, on which it says when it can."""
    # spawn: a forked child would share locks and threads of whatever the parent has loaded.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, *_identity(vocabulary))
    process = context.Process(target=_serve, args=arguments, name="tokenise", daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()  # it may still be starting
        process.join()


def _ask(idle: queue.SimpleQueue, batch: list[Text]) -> Encoded:
    ours = idle.get()
    try:
        with contextlib.suppress(OSError):  # said by what is received
            ours.send(batch)
        return _receive(ours)
    finally:
        idle.put(ours)


def _receive(ours: connection.Connection) -> Any:
    """Returns what a process answers; raises its UserError, and another one when it is gone."""
    try:
        answer = ours.recv()
    except (EOFError, OSError):
        raise errors.UserError(
            "a process that tokenises was killed (out of memory?): run the same command again, "
            "with fewer --workers"
        ) from None
    return _or_raised(answer)


def _or_raised(answer: Any) -> Any:
    if isinstance(answer, errors.UserError):
        raise answer
    return answer


def _identity(vocabulary: tokenizer.Tokenizer) -> tuple[str, str, bool]:
    """What another process makes the same of."""
    return vocabulary.name, vocabulary.sha256, vocabulary.document_bos is not None


def _serve(theirs: connection.Connection, name: str, sha256: str, with_bos: bool) -> None:
    """Encodes batches until the other end is closed, or gone with its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what is to be said
    with contextlib.suppress(EOFError, OSError):
        try:
            vocabulary = _same(name, sha256, with_bos)
            theirs.send(None)
            while True:
                theirs.send(encode(theirs.recv(), vocabulary))
        except errors.UserError as error:
            theirs.send(error)


def _encode_there(batch: list[Text], wanted: tuple[str, str, bool]) -> Encoded | errors.UserError:
    """A task of the cluster; an error comes back as it is, without Ray's account of it."""
    try:
        return encode(batch, _same(*wanted))
    except errors.UserError as error:
        return error


def _same(name: str, sha256: str, with_bos: bool) -> tokenizer.Tokenizer:
    """The tokenizer of that name, which has to be the one that the command opened."""
    vocabulary = tokenizer.get(name)
    if vocabulary.sha256 != sha256:
        raise errors.UserError(f"{name} was changed meanwhile: run the command again")
    return vocabulary.beginning(with_bos)


def _batches(texts: Iterable[Text], *, max_chars: int) -> Iterator[list[Text]]:
    batch: list[Text] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text.text)
        if chars >= max_chars or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def encode(batch: list[Text], vocabulary: tokenizer.Tokenizer) -> Encoded:
    """Returns the texts encoded and hashed."""
    rows, pieces = [], []
    eot = np.array([vocabulary.eot], vocabulary.dtype)
    begins = [one for one in [vocabulary.document_bos] if one is not None]
    first = np.array(begins, vocabulary.dtype)
    for text in batch:
        try:
            content = text.text.encode()
        except UnicodeEncodeError as error:
            raise errors.UserError(
                f"{text.origin}: a lone surrogate U+{ord(text.text[error.start]):04X} at character "
                f"{error.start}: mend the text, or pass --bad_text=replace"
            ) from None
        ids = vocabulary.encode_uint32(text.text)
        pieces += [first, ids.astype(vocabulary.dtype), eot]
        doc_hash = hashing.bytes_hash(content)
        key = text.split_key or f"{doc_hash:016x}"
        rows.append((doc_hash, hashing.split_hash(key), len(first) + len(ids) + 1, len(content)))
    sources = [text.source for text in batch]
    return Encoded(sources, np.array(rows, TABLE), np.concatenate(pieces))
