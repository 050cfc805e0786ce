"""Errors that are the user's to mend, and the one way a command reports them."""

import contextlib
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
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.code if isinstance(error, Stop) else BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `command | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that only an extra of the project makes possible. Raises MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name, extra) from error
