"""Errors that are the user's to mend, and the one way a command reports them."""

import contextlib
import errno
import io
import os
import select
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
    errno.ENOENT: "it is not there: correct the path, or make it first",
    errno.ELOOP: "its links lead in a circle: correct them",
    errno.ENXIO: "it is a device or socket, a file is wanted: choose another path",
    errno.ENODEV: "it is a device or pipe, a file is wanted: choose another path",
    errno.ENOTEMPTY: "the directory is not empty: choose another one",
    errno.EXDEV: "it is on another disk: choose a path on the same one",
    errno.ENOMEM: "there is too little memory: end other programs, or take a machine with more",
    errno.EAGAIN: "too many processes run: raise the limit (ulimit -u), or end other programs",
    errno.ETIMEDOUT: "the file server does not answer: run the same command again",
}


def of_system(error: OSError, *, where: object = None) -> UserError | None:
    """Returns what a command says of an error of the system that is the user's to mend."""
    if error.errno not in _MENDED:
        return None
    name = error.filename if error.filename is not None else where
    mended = _MENDED[error.errno]
    if name is None and mended.startswith("it"):  # a line that does not say of what mends nothing
        return None
    return UserError(f"cannot use {name}: {mended}" if name is not None else mended)


def known(error: OSError | UnicodeError) -> UserError | None:
    """Returns what a command says of an error that comes of files, of the system or of text."""
    return of_system(error) if isinstance(error, OSError) else _of_text(error)


def _of_text(error: UnicodeError) -> UserError:
    if isinstance(error, UnicodeEncodeError):
        place = ascii(error.object[error.start : error.end][:9])
        return UserError(
            f"{place} cannot be written as {error.encoding}: leave it out, or set LANG=C.UTF-8"
        )
    if isinstance(error, UnicodeDecodeError):
        found = bytes(error.object[error.start : error.end][:9])
        return UserError(
            f"byte {error.start} of a text, {found!r}, is not {error.encoding}: mend it"
        )
    return UserError(f"a text is not as it should be: {error}")


class Stop(Exception):
    """A planned end of a command with an exit code of its own, and the word before its line."""

    code = 1
    word = "error"


def occupy_console() -> None:
    """Opens nothing in the place of stdin, stdout and stderr that are closed (`2>&-`): the next
    file that is opened would be taken for them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor, inheritable=True)
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))


def run(main: Callable[[], int]) -> int:
    """Runs a command's main; a planned end becomes one line on stderr and its exit code.

    What the terminal's encoding cannot show is shown as an escape.
    """
    occupy_console()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a test, or a notebook, may have put another
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()  # or the interpreter would find out that the disk is full
        return code
    except (UserError, Stop) as error:
        return _told(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not _is_unheard():  # another pipe, as to a process of ours
            raise
        return UNHEARD  # `command | head`: nobody reads the rest
    except (OSError, UnicodeError) as error:
        if (mended := known(error)) is None:
            raise
        return _told(mended)
    finally:
        _drop_unheard()


def _told(error: UserError | Stop) -> int:
    with contextlib.suppress(OSError):  # nobody hears it, and the exit code says it
        word = error.word if isinstance(error, Stop) else Stop.word
        print(f"{word}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return error.code if isinstance(error, Stop) else BAD_INPUT


def _is_unheard() -> bool:
    """Whether nobody reads what stdout or stderr says."""
    console = select.poll()
    for descriptor in (1, 2):
        console.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in console.poll(0))


def _drop_unheard() -> None:
    """Lets go of what a stream cannot write, of which the interpreter's end would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that only an extra of the project makes possible. Raises MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name, extra) from error
