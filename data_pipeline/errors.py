"""Errors that are the user's to mend, and the one way a command reports them."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator

BAD_INPUT = 2
INTERRUPTED = 130
UNHEARD = 141  # as of a command that SIGPIPE ends: what it would have found is not known


class UserError(ValueError):
    """Bad input: one line that says what was got, what was wanted and what to do."""


class MissingExtra(UserError):
    """A package is not installed; `extra` names the requirements file that has it."""

    def __init__(self, package: str | None, extra: str):
        super().__init__(
            f"this needs {package}, which is not installed: pip install -r requirements-{extra}.txt"
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple:
        """From a worker's process to the command's: an exception is made again of its arguments."""
        return type(self), (self.package, self.extra)


# What of the system's errors is the user's to mend, and how; any other is an error of the program.
_MENDED = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
    errno.EACCES: "no permission: choose another path, or change its permissions",
    errno.EPERM: "it is not permitted there: choose another path",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.ENOTDIR: "a part of the path is a file: choose another directory",
    errno.EEXIST: "a part of the path is a file: choose another directory",
    errno.EISDIR: "it is a directory, a file is wanted: choose another path",
    errno.EFBIG: "the file size limit is reached: raise it or make smaller shards",
    errno.ENAMETOOLONG: "a name is longer than the file system allows: choose a shorter one",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.EBUSY: "it is in use, perhaps as a mount point: choose another path",
    errno.EIO: "the disk does not answer as it should: check it",
    errno.ESTALE: "the file server has lost it: mount it again",
}


def of_system(error: OSError, *, where: object = None) -> UserError | None:
    """Returns what a command says of an error of the system that is the user's to mend."""
    if error.errno not in _MENDED:
        return None
    name = error.filename if error.filename is not None else where
    mended = _MENDED[error.errno]
    return UserError(f"cannot use {name}: {mended}" if name is not None else mended)


class Stop(Exception):
    """A planned end of a command with an exit code of its own."""

    code = 1


def run(main: Callable[[], int]) -> int:
    """Runs a command's main; a planned end becomes one line on stderr and its exit code.

    What the terminal's encoding cannot show is shown as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a test, or a notebook, may have put another
            stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    except (UserError, Stop) as error:
        return _told(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `command | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD
    except OSError as error:
        if (known := of_system(error)) is None:
            raise
        return _told(known)


def _told(error: UserError | Stop) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.code if isinstance(error, Stop) else BAD_INPUT


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that only an extra of the project makes possible. Raises MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name, extra) from error
