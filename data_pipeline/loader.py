"""Sources -> windows -> mixture -> batches: a pure function of (data, seed, step).

Element k of the mixture is a window of one source; row r of batch s is element s * batch_size + r.
Nothing else is state, so any number of hosts can go on from any step.
"""

import functools
import hashlib
import json
import queue
import sys
import threading
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from data_pipeline import errors, hashing, mixture, schedule, streams, windows

# What an evaluation reads belongs to the same interface.
EvalWindows = windows.EvalWindows
eval_windows = windows.eval_windows
plan_eval = windows.plan_eval

# Part of the fingerprint: raised when the same settings would give other windows.
_ORDER_VERSION = 2


class _Windows:
    """The windows of one source's train split: number and, for each epoch, where they start."""

    def __init__(self, stream: streams.TokenStream, *, block_size: int, seed: int, key: str):
        self._stream = stream
        self._block_size = block_size
        self._identity = f"{seed}/{key}"
        if len(stream) < block_size + 1:
            raise errors.UserError(
                f"{stream.name} has {len(stream)} tokens, one window needs {block_size + 1}: "
                "give more text or a smaller model.block_size"
            )
        # The same number in every epoch, whatever the phase: indexing stays a pure function.
        self.per_epoch = max(1, (len(stream) - block_size) // block_size)
        self._phases = min(block_size, len(stream) - self.per_epoch * block_size)
        self._epoch = functools.lru_cache(maxsize=2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        """Returns (tokens skipped at the start, so that epochs cut the text differently; order)."""
        digest = hashlib.blake2b(f"{self._identity}/{epoch}".encode(), digest_size=16).digest()
        phase = int.from_bytes(digest[:8], "little") % self._phases
        # Not grain's shuffle, which takes milliseconds for each window of a source of few windows.
        numbers = np.arange(self.per_epoch, dtype=np.uint64)
        keys = hashing.order_keys(numbers, int.from_bytes(digest[8:], "little"))
        return phase, np.argsort(keys, kind="stable").astype(np.uint32)

    def read(self, index: int, _) -> np.ndarray:
        """int32[L + 1]: element `index` of the endless source, an order of its own every epoch."""
        epoch, place = divmod(index, self.per_epoch)
        phase, order = self._epoch(epoch)
        start = phase + int(order[place]) * self._block_size
        return self._stream.read(start, start + self._block_size + 1)


class _Selection(grain.transforms.DatasetSelectionMap):
    """The schedule in grain's terms."""

    def __init__(self, order: schedule.Schedule):
        self._order = order

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self._order[index]


class TrainLoader:
    """The batches of a stage, by number: from any step, in any order, with or without threads."""

    def __init__(
        self,
        mixed: mixture.Mixture,
        *,
        block_size: int,
        batch_size: int,
        seed: int,
        rows: Sequence[int] | None = None,
    ):
        """`batch_size` is global; `rows`: those of every batch that this process reads, by default
        all."""
        if block_size < 1 or batch_size < 1:
            raise errors.UserError(
                f"block_size {block_size} and batch_size {batch_size}: at least 1 is wanted"
            )
        self._mixture = mixed
        self._settings = {"seed": seed, "batch_size": batch_size, "block_size": block_size}
        self._batch_size = batch_size
        self._rows = range(batch_size) if rows is None else rows
        assert all(0 <= row < batch_size for row in self._rows)
        self._block_size = block_size
        self._drawn = [one for one in mixed.components if one.share]
        self._windows = [
            _Windows(one.data.stream("train"), block_size=block_size, seed=seed, key=one.key)
            for one in self._drawn
        ]
        self._order = schedule.Schedule([one.share for one in self._drawn])
        self._dataset = grain.MapDataset.select_from_datasets(
            [
                grain.MapDataset.range(of_source.per_epoch).repeat().map_with_index(of_source.read)
                for of_source in self._windows
            ],
            _Selection(self._order),
        )

    def batch(self, step: int) -> np.ndarray:
        """Returns int32[rows of this process, block_size + 1] of batch `step`, counted from 0."""
        first = step * self._batch_size
        tokens = np.empty((len(self._rows), self._block_size + 1), np.int32)
        for place, row in enumerate(self._rows):
            tokens[place] = self._dataset[first + int(row)]
        return tokens

    def counts(self, step: int) -> dict[str, int]:
        """Returns for each source the windows in batches 0..step-1, all processes together."""
        drawn = self._order.counts(step * self._batch_size)
        found = {one.key: 0 for one in self._mixture.components}
        return found | {one.key: n for one, n in zip(self._drawn, drawn, strict=True)}

    def epochs(self, step: int) -> dict[str, float]:
        """Returns for each source how often batches 0..step-1 went through its windows."""
        found = {key: float(n) for key, n in self.counts(step).items()}
        for one, of_source in zip(self._drawn, self._windows, strict=True):
            found[one.key] /= of_source.per_epoch
        return found

    def describe(self) -> dict:
        """Returns everything that decides the batches; equal descriptions give equal batches."""
        return {"order": _ORDER_VERSION, **self._settings, "sources": self._mixture.describe()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description without paths."""
        content = {"order": _ORDER_VERSION, **self._settings, "mixture": self._mixture.fingerprint}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def prefetch(self, start_step: int, depth: int) -> "Prefetch":
        """Returns an iterator of (step, batch) from `start_step` on, made by a thread."""
        return Prefetch(self, start_step, depth)


class Prefetch:
    """Keeps `depth` batches ready; what fails in the thread is raised where they are taken."""

    def __init__(self, loader: TrainLoader, start_step: int, depth: int):
        assert depth >= 1
        self._queue: queue.Queue = queue.Queue(depth)
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(
            target=self._run, args=(loader, start_step), name="prefetch", daemon=True
        )
        self._thread.start()

    def _run(self, loader: TrainLoader, step: int) -> None:
        try:
            while not self._stop.is_set():
                self._put((step, loader.batch(step)))
                step += 1
        except BaseException as error:  # handed to the consumer, whatever it is
            self._put(error)

    def _put(self, item) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return self

    def __next__(self) -> tuple[int, np.ndarray]:
        if self._ended:
            raise StopIteration
        item = self._take()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        return item

    def _take(self):
        """Waits for the thread, but not for one that is no more."""
        while True:
            try:
                return self._queue.get(timeout=1.0)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    raise RuntimeError("the thread that reads batches has ended") from None

    def close(self) -> None:
        """Ends the thread; safe to call twice."""
        self._stop.set()
        self._ended = True
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
