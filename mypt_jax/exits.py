"""Why a run ends other than by finishing: one exception and exit code each (README has a table)."""

import contextlib
import errno

from data_pipeline import errors


class RunEnd(errors.Stop):
    """A planned end of a run: one line on stderr, and `code`."""


class ForgettingStop(RunEnd):
    """The forgetting guard ended the run."""

    code = 3
    word = "stopped"


class Divergence(RunEnd):
    """Too many non-finite steps in a row."""

    code = 4


class NoValidState(RunEnd):
    """No valid checkpoint, or data that vanished or changed."""

    code = 5


class WatchdogTimeout(RunEnd):
    """No step ended for watchdog_secs."""

    code = 6


class LostPeer(RunEnd):
    """Another process of the run is gone, or another owner took the run over."""

    code = 7


class StorageFailure(RunEnd):
    """A checkpoint or metrics file could not be written."""

    code = 8


class Preempted(RunEnd):
    """Asked to stop by a signal or the time budget; everything is saved, run again to resume."""

    code = 75
    word = "stopped"


# What the system says when it is the disk and not the program.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE)


@contextlib.contextmanager
def storage():
    """Turns what the system says of a disk into StorageFailure."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise StorageFailure(f"{error}; the newest checkpoint is intact") from error
