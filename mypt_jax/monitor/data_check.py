"""A run's text is what it was: looked at beside the compilation, known before the first save."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import jax

from data_pipeline.errors import UserError
from data_pipeline.tokens import check, shards
from mypt_jax import exits
from mypt_jax.distributed import coordination

_SLOWEST_BYTES_PER_SEC = 20e6  # of a disk for which the other processes still wait


class DataCheck:
    """Process 0 reads, for all, what the manifests vouch for; the others see the same disk, or have
    fetched and verified a copy of their own. A file that was changed is NoValidState."""

    def __init__(self, splits: Iterable[tuple[shards.Source, str]], *, timeout_secs: float):
        """`splits`: what is read of which sources; `timeout_secs`: that the others wait for
        process 0, beyond its reading."""
        self._check = check.Check(splits)
        self._timeout_secs = timeout_secs + self._check.nbytes / _SLOWEST_BYTES_PER_SEC
        self._is_settled = False

    def start(self) -> None:
        if jax.process_index() == 0:
            self._check.start()

    def close(self) -> None:
        self._check.close()

    def poll(self) -> None:
        """Raises what was found by now; on process 0."""
        if not self._is_settled:
            with _changed():
                self._check.poll()

    def settle(self, beat: Callable[[], None], say: Callable[[str], None]) -> None:
        """Waits until all is known, and raises what was found on all processes; once."""
        if self._is_settled:
            return

        def wait() -> None:
            with _changed():
                self._check.wait(beat)

        coordination.broadcast("see the data checked", wait, timeout_secs=self._timeout_secs)
        self._is_settled = True
        if line := self._check.line():
            say(line)

    @contextlib.contextmanager
    def before_blame(self) -> Iterator[None]:
        """Whoever finds fault with the model waits until it is known that the text has none."""
        try:
            yield
        except (UserError, exits.Divergence):
            with _changed():
                self._check.wait()
            raise


@contextlib.contextmanager
def _changed() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise exits.NoValidState(str(error)) from error
