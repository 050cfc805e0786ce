"""Whether the text that a run reads is what its manifests say, found out beside other work."""

import os
import threading
import time
from collections.abc import Callable, Iterable

from data_pipeline import digests, errors
from data_pipeline.tokens import shards, verification

_THREADS = min(8, os.cpu_count() or 1)  # hashing lets the interpreter go; more wait for the disk


def check(splits: Iterable[tuple[shards.Source, str]]) -> None:
    """Returns when all of these is known to be what its manifest says. Raises UserError, which
    names the first file that is not."""
    found = Check(splits)
    found.start()
    found.wait()


class Check:
    """Reads in threads what this machine has not read before, or not since it was touched.

    `poll` and `wait` raise UserError, naming the first file that is not as its manifest says.
    """

    def __init__(self, splits: Iterable[tuple[shards.Source, str]]):
        """`splits`: what is read of which sources. Nothing is read before `start`."""
        self._claims = {
            (source.root, claim.name): claim
            for source, split in splits
            for claim in verification.claims(source, split)
        }
        self.nbytes = sum(claim.nbytes for claim in self._claims.values())
        self._memories: dict[str, digests.Memory] = {}
        self._read_bytes, self._secs = 0, 0.0
        self._error: BaseException | None = None
        self._lock, self._threads = threading.Lock(), []

    def start(self) -> None:
        """Begins; returns at once."""
        self._memories = {root: digests.Memory(root) for root, _ in self._claims}
        todo, begin = iter(list(self._claims.items())), time.monotonic()
        # No pool of executors: a process that is stopped would wait for its threads.
        self._threads = [
            threading.Thread(target=self._work, args=(todo, begin), name="check", daemon=True)
            for _ in range(min(_THREADS, len(self._claims)))
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, todo, begin: float) -> None:
        while self._error is None:
            with self._lock:
                (root, _), claim = next(todo, (("", ""), None))
            if claim is None:
                break
            try:
                self._compare(self._memories[root], claim)
            except BaseException as error:  # handed to whoever waits, whatever it is
                self._error = error
        self._secs = time.monotonic() - begin

    def _compare(self, memory: digests.Memory, claim: verification.Claim) -> None:
        try:
            found = memory.recall(claim.name, claim.paths)
            if not found:
                found = memory.learn(claim.name, claim.paths, claim.read)
                with self._lock:
                    self._read_bytes += claim.nbytes
        except OSError as error:
            raise errors.UserError(
                f"{error.filename or claim.name} cannot be read ({error.strerror or error}): "
                "restore it or build the dataset again"
            ) from error
        claim.check(found)

    def poll(self) -> None:
        """Raises what was found so far."""
        if self._error is not None:
            raise self._error

    def wait(self, beat: Callable[[], None] = lambda: None) -> None:
        """Returns when all is known; `beat` is called as long as it comes nearer."""
        seen = 0
        for thread in self._threads:
            while thread.is_alive():
                thread.join(1.0)
                if self._read_bytes != seen:
                    seen = self._read_bytes
                    beat()
        for memory in self._memories.values() if self._threads else ():
            memory.save()
        self._threads = []
        self.poll()

    def close(self) -> None:
        """Ends the threads, each after the file that it reads."""
        self._error = self._error or RuntimeError("the check of the data was closed")

    def line(self) -> str:
        """What it came to, for the user; "" where nothing was to be checked."""
        if not self._claims:
            return ""
        read = self._read_bytes
        how = (
            f"{read / 1e6:,.1f} MB read in {self._secs:.2f} s, the rest known" if read else "known"
        )
        return (
            f"data: {len(self._claims)} files, {self.nbytes / 1e6:,.1f} MB, are what their "
            f"manifests say ({how})"
        )
