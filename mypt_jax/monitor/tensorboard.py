"""TensorBoard: rows as event files in the workdir, written without TensorFlow."""

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from mypt_jax.monitor import observer
from mypt_jax.monitor.tracked import Tracked, scalars

_FLUSH_SECS = 10.0


class TensorBoard(observer.Observer):
    """Event files in the workdir, whose place names the run: `tensorboard --logdir runs`. Their
    steps are tokens of the lineage, so that a stage's curves begin where its parent's end.

    By the thread that hands over the row: tensorboardX's own dies on a full disk, and whoever
    waits for it then waits for ever.
    """

    def __init__(self, run: Tracked):
        self._directory, self._tokens_at = run.workdir, run.tokens_at
        os.makedirs(self._directory, exist_ok=True)
        self._files = 0
        self._flushed = time.monotonic()
        self._writer = self._open(run.tokens_at(run.first_step) if run.first_step else 0)

    def _open(self, first: int):
        # Not at the top: it loads torch where that is installed, which takes seconds. The classes
        # are made by protobuf as their modules are imported, out of a checker's sight.
        from tensorboardX import record_writer
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # ty: ignore[missing-module-member]

        self._files += 1  # of one process, which may open two in a second
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        path = os.path.join(self._directory, f"{name}.{os.getpid()}.{self._files}")
        writer = record_writer.RecordWriter(path)
        version = Event(wall_time=time.time(), step=first, file_version="brain.Event:2")
        writer.write(version.SerializeToString())
        if first:  # hides what was written of this place and later ones
            log = SessionLog(status=SessionLog.START)
            writer.write(Event(step=first, session_log=log).SerializeToString())
        return writer

    def at_row(self, row: Mapping) -> None:
        """Raises OSError, and goes on in another file: half a record may stand in this one."""
        from tensorboardX.proto.event_pb2 import Event  # ty: ignore[missing-module-member]
        from tensorboardX.proto.summary_pb2 import Summary  # ty: ignore[missing-module-member]

        figures = scalars(row).items()
        values = [Summary.Value(tag=key, simple_value=value) for key, value in figures]
        step = self._tokens_at(row["step"])
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        try:
            self._writer = self._writer or self._open(0)
            self._writer.write(event.SerializeToString())
            if time.monotonic() - self._flushed > _FLUSH_SECS:
                self._flushed = time.monotonic()
                self._writer.flush()
        except OSError:
            self._drop()
            raise

    def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
