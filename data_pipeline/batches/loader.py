"""Sources -> windows -> mixture -> batches: a pure function of (data, lineage, seed, step).

Element k of the mixture is a window of one source; row r of batch s is element s * batch_size + r.
Nothing else is state, so any number of hosts can go on from any step.
"""

import dataclasses
import hashlib
import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_pipeline import errors
from data_pipeline.batches import mixture, source_order, window_order
from data_pipeline.batches.batch import Batch, begun
from data_pipeline.tokens import streams


class _Windows:
    """The windows of one source's train split, in the order of a run."""

    def __init__(
        self,
        stream: streams.TokenStream,
        *,
        block_size: int,
        past: Sequence[window_order.Segment],
        identity: str,
        first: Mapping[str, int] | None,
    ):
        self._stream, self._first = stream, first
        self._block_size = block_size
        if len(stream) < block_size + 1:
            raise errors.UserError(
                f"{stream.name} has {len(stream)} tokens, one window needs {block_size + 1}: "
                "give more text or a smaller model.block_size"
            )
        per_epoch = window_order.windows_per_epoch(len(stream), block_size)
        # A cut shifts by what is left behind the last window, and by less than a window: more would
        # cut the text as before.
        self._phases = min(block_size, len(stream) - per_epoch * block_size)
        self.order = window_order.WindowOrder(per_epoch, past=past, identity=identity)

    def read(self, index: int) -> np.ndarray:
        """int32[L + 1]: the run's window `index` of the source."""
        cut, number = self.order[index]
        # Some tokens are skipped at the start, so that epochs cut the text differently.
        start = cut % self._phases + number * self._block_size
        window = self._stream.read(start, start + self._block_size + 1)
        return begun(window, **self._first) if self._first else window


class TrainLoader:
    """The batches of a stage, by number: from any step, in any order, with or without threads."""

    def __init__(
        self,
        mixed: mixture.Mixture,
        *,
        block_size: int,
        batch_size: int,
        seed: int,
        past: Mapping[str, Sequence[window_order.Segment]] | None = None,
        version: int = window_order.VERSION,
        rows: Sequence[int] | np.ndarray | None = None,
        bos_at_cuts: bool = False,
        first_step: int = 0,
    ):
        """`batch_size` is global; `past`: what the ancestors drew of each source, by its key;
        `version`: of the order of windows; `rows`: those of every batch that this process reads, by
        default all; `bos_at_cuts`: windows that are cut out of a document begin with BOS;
        `first_step`: the batch in which element 0 of the mixture is."""
        if block_size < 1 or batch_size < 1:
            raise errors.UserError(
                f"block_size {block_size} and batch_size {batch_size}: at least 1 is wanted"
            )
        self.version = version
        self.seed = seed
        self._mixture = mixed
        self._settings = {"seed": seed, "batch_size": batch_size, "block_size": block_size}
        # What came later stands here where it is used: the fingerprint of an older run stays.
        self._settings |= {"bos_at_cuts": True} if bos_at_cuts else {}
        self._settings |= {"first_step": first_step} if first_step else {}
        self._first_step = first_step
        self._batch_size = batch_size
        self._rows = range(batch_size) if rows is None else rows
        # Ours to get right: the mesh names the rows, and no user does.
        assert all(0 <= row < batch_size for row in self._rows)
        self._block_size = block_size
        # One without a share is evaluated only. Numbers stay those of all components, which is what
        # the step knows sources by.
        self._numbers = [n for n, one in enumerate(mixed.components) if one.share]
        self._drawn = [mixed.components[n] for n in self._numbers]
        past = {} if version == window_order.FROM_THE_START else past or {}
        self._past = {one.key: list(past.get(one.key, ())) for one in self._drawn}
        self._twins = self._find_twins()
        self._windows = [
            _Windows(
                one.data.stream("train"),
                block_size=block_size,
                past=self._past[one.key],
                # The first of the twins names the shuffle of all: they walk through one order.
                identity=f"{seed}/{self._drawn[twins[0]].key}",
                first=one.dataset.edges() if bos_at_cuts else None,
            )
            for one, twins in zip(self._drawn, self._twins, strict=True)
        ]
        self._order = source_order.Schedule([one.share for one in self._drawn])

    def _find_twins(self) -> list[list[int]]:
        """For each drawn source those that are the same text in another role, itself included."""
        if self.version == window_order.FROM_THE_START:
            return [[i] for i in range(len(self._drawn))]
        # By text and not by name: a dataset in both roles would otherwise repeat its windows.
        texts = [one.train_fingerprint for one in self._drawn]
        return [[j for j, other in enumerate(texts) if other == text] for text in texts]

    def batch(self, step: int) -> Batch:
        """Returns the rows of this process of batch `step`, counted from 0."""
        first = self._elements(step)
        # Filled row by row: stacking would copy every window a second time, at each step.
        tokens = np.empty((len(self._rows), self._block_size + 1), np.int32)
        sources = np.empty(len(self._rows), np.int32)
        for place, row in enumerate(self._rows):
            source, before = self._order[first + int(row)]
            sources[place] = self._numbers[source]
            if len(self._twins[source]) > 1:  # they share the windows of their text
                counts = self._order.counts(first + int(row))
                before = sum(counts[twin] for twin in self._twins[source])
            tokens[place] = self._windows[source].read(before)
        return Batch(tokens, sources)

    def counts(self, step: int) -> dict[str, int]:
        """Returns for each source the windows in the batches before `step`, all processes
        together."""
        drawn = self._order.counts(self._elements(step))
        found = {one.key: 0 for one in self._mixture.components}
        return found | {one.key: n for one, n in zip(self._drawn, drawn, strict=True)}

    def epochs(self, step: int) -> dict[str, float]:
        """Returns for each source how often its windows were gone through when the batches before
        `step` were read, by the ancestors and this run together."""
        counts = self._order.counts(self._elements(step))
        found = dict.fromkeys((one.key for one in self._mixture.components), 0.0)
        for one, twins, of_source in zip(self._drawn, self._twins, self._windows, strict=True):
            seen = of_source.order.first + sum(counts[twin] for twin in twins)
            found[one.key] = seen / of_source.order.per_epoch
        return found

    def _elements(self, step: int) -> int:
        """How many elements of the mixture come before a batch."""
        assert step >= self._first_step, f"batch {step} is of other data"
        return (step - self._first_step) * self._batch_size

    def first_windows(self) -> dict[str, int]:
        """Returns for each drawn source how many of its windows the ancestors have drawn."""
        drawn = zip(self._drawn, self._windows, strict=True)
        return {one.key: of_source.order.first for one, of_source in drawn}

    def describe(self) -> dict:
        """Returns everything that decides the batches; equal descriptions give equal batches."""
        return {**self._decisive(), "sources": self._mixture.describe()}

    def _decisive(self) -> dict:
        """What decides the batches besides the mixture; a past only where there is one."""
        past = {
            key: [dataclasses.asdict(segment) for segment in segments]
            for key, segments in self._past.items()
            if segments
        }
        return {"order": self.version, **self._settings, **({"past": past} if past else {})}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description without paths."""
        # A run whose datasets were moved reads the same batches, and is to go on.
        content = {**self._decisive(), "mixture": self._mixture.fingerprint}
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
            # A daemon: a run that ends by an exception must not wait for a full queue.
            target=self._run,
            args=(loader, start_step),
            name="prefetch",
            daemon=True,
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
                # With a limit, so that a close is noticed while nobody takes.
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        return self

    def __next__(self) -> tuple[int, Batch]:
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
