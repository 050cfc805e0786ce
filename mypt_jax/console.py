"""A run outlives its console: what nobody can read is not printed, and nothing else happens.

The reader of a pipe may end (`| head`), a terminal be closed, the disk behind `> file` be full, a
descriptor be closed from the start (`2>&-`), a character be none of the console's encoding.
"""

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable

from data_pipeline import errors

PATIENCE_SECS = 10.0  # for a reader that lives and does not read, as a terminal that was paused
_AT_ONCE_BYTES = 512  # what a pipe that is ready takes without waiting, on every system (POSIX)
_STREAMS = {"stdout": 1, "stderr": 2}


class _Unfailing(io.RawIOBase):
    """A descriptor whose writes succeed, whether anything comes of them or not."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._patience_secs = PATIENCE_SECS

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        part = bytes(data[:_AT_ONCE_BYTES])
        try:
            if select.select([], [self._descriptor], [], self._patience_secs)[1]:
                written = os.write(self._descriptor, part)
                self._patience_secs = PATIENCE_SECS
                return written
            self._patience_secs = 0.0  # the lines after this one do not wait again
        except OSError:
            pass
        return len(part)


def hold() -> None:
    """Makes stdout and stderr of this process unfailing; the first thing that a command does."""
    errors.occupy_console()
    for name, descriptor in _STREAMS.items():
        before = getattr(sys, name)
        if before is not None:
            with contextlib.suppress(OSError):
                before.flush()
        stream = io.TextIOWrapper(
            io.BufferedWriter(_Unfailing(descriptor)),
            encoding=before.encoding if before is not None else "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, stream)


def run(main: Callable[[], int]) -> int:
    """errors.run of a command that is not begun for what it prints: it goes on where nobody reads
    that any more."""
    hold()
    return errors.run(main)


def say_at_once(line: str) -> None:
    """A line on stderr from any thread, of a process that ends without cleaning up."""
    data = f"{line}\n".encode(errors="backslashreplace")
    descriptor = _Unfailing(_STREAMS["stderr"])
    while data:
        data = data[descriptor.write(data) :]


def has_terminal() -> bool:
    """Whether this process belongs to a terminal, which may be closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
