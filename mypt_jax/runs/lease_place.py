"""Where the owners of a run are written down: lease/000001.json, 000002.json, ... beside it.

The highest number names the owner. A claim creates the number after the one that it has seen, which
a disk, NFS, GCS and S3 do for one process only, and then looks again; an owner writes its own
number only. So it does not matter when a write arrives: of two that claim at once one fails there
and then, and what a slow or frozen one writes later is no longer the highest number.
"""

import abc
import contextlib
import errno
import json
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

from data_pipeline import atomic

FOLDER = "lease"
BEFORE_NUMBERS = "lease.json"  # the owner of a run of a version that had one file; number 0
RELEASED = "released"
SETTLE_SECS = 0.2  # so that of two claims on a store that creates twice, one sees the other


class Seen(NamedTuple):
    """What a look has found; `record` is None where nobody is, or where it cannot be read."""

    number: int  # -1: nobody was ever here
    record: dict | None
    numbers: frozenset[int]


def _parse(data: bytes | None) -> dict | None:
    try:
        record = json.loads(data or b"")
        known = {"owner", "pid", "host", "renewed", "machine", "born", "renewals"} <= set(record)
    except (ValueError, RecursionError, TypeError):
        return None
    return record if known and isinstance(record, dict) else None


class Place(abc.ABC):
    """The owners of one run. All methods raise OSError when the place cannot be reached."""

    path: str
    workdir: str  # on this machine
    settle_secs = 0.0

    def __init__(self):
        self._own = -1
        self._owner = ""

    def look(self) -> Seen:
        """Who owns the run now."""
        numbers = frozenset(self._numbers())
        newest = max(numbers, default=-1)
        return Seen(newest, _parse(self._read(newest)) if numbers else None, numbers)

    def claim(self, seen: Seen, record: Mapping) -> bool:
        """Makes `record` the owner after `seen`; whether it is. False: look again."""
        self._own, self._owner = max(1, seen.number + 1), record["owner"]
        # An answer can be lost on the way: what is there already may be this one's all the same.
        created = self._create(self._own, _bytes(record))
        if not created and not self._is_own(_parse(self._read(self._own))):
            return False
        time.sleep(self.settle_secs)
        now = self.look()
        if now.number <= self._own and not self._is_own(now.record):
            return False
        # Two owners may have come since, and freed this number; or the run was begun anew below it.
        strangers = now.numbers - seen.numbers - {self._own}
        below = _parse(self._read(seen.number)) if seen.number in now.numbers else seen.record
        same = (below or {}).get("owner") == (seen.record or {}).get("owner")
        if strangers or not same:
            self._remove(self._own)
            return False
        for number in now.numbers - {self._own}:
            self._remove(number)
        return True

    def renew(self, record: Mapping) -> None:
        self._write(self._own, _bytes(record))

    def release(self, record: Mapping) -> None:
        """Gives the run free. The number stays, since none may come twice."""
        self.renew({**record, RELEASED: True})

    def is_own(self, seen: Seen) -> bool:
        """Whether what was seen is what this process claimed; a damaged record still is."""
        return seen.number == self._own and (seen.record is None or self._is_own(seen.record))

    def is_held(self) -> bool:
        """Whether nothing speaks against it, at a cost that a write before each row may have."""
        return os.path.isdir(self.workdir)

    def _is_own(self, record: Mapping | None) -> bool:
        return record is not None and record["owner"] == self._owner

    @abc.abstractmethod
    def _numbers(self) -> list[int]: ...

    @abc.abstractmethod
    def _read(self, number: int) -> bytes | None:
        """None where there is none."""

    @abc.abstractmethod
    def _create(self, number: int, data: bytes) -> bool:
        """Whether it was made; False where it is there already."""

    @abc.abstractmethod
    def _write(self, number: int, data: bytes) -> None: ...

    @abc.abstractmethod
    def _remove(self, number: int) -> None: ...


class InDirectory(Place):
    """Files of a workdir on a disk that one or several machines see."""

    def __init__(self, workdir: str):
        super().__init__()
        self.workdir = workdir
        self.path = os.path.join(workdir, FOLDER)

    def _name(self, number: int) -> str:
        return os.path.join(self.path, f"{number:06d}.json") if number else self._before_numbers

    @property
    def _before_numbers(self) -> str:
        return os.path.join(self.workdir, BEFORE_NUMBERS)

    def _numbers(self) -> list[int]:
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        found = [int(stem) for stem in stems if stem.isdecimal()]
        return found + [0] * os.path.exists(self._before_numbers)

    def _read(self, number: int) -> bytes | None:
        try:
            with open(self._name(number), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _create(self, number: int, data: bytes) -> bool:
        os.makedirs(self.path, exist_ok=True)
        path = self._name(number)
        try:  # exclusive at the server also on NFS, where a rename or a lock is not
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            with open(file, "wb") as opened:
                opened.write(data)
        except OSError:
            self._remove(number)  # of a full disk: an empty record would look like a slow one
            raise
        return True

    def _write(self, number: int, data: bytes) -> None:
        try:
            with atomic.replacing(self._name(number)) as file:
                file.write(data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A disk that is full for a while must not cost the run: in place there is room.
            with open(self._name(number), "r+b") as file:
                file.write(data.ljust(os.path.getsize(self._name(number))))

    def _remove(self, number: int) -> None:
        for path in (self._name(number), atomic.partial_name(self._name(number))):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def is_held(self) -> bool:
        try:
            return self._is_own(_parse(self._read(self._own)))
        except OSError:
            return True  # that a disk does not answer says nothing about who owns the run

    def release(self, record: Mapping) -> None:
        if os.listdir(self.workdir) == [FOLDER]:  # the run failed before it wrote anything
            self._remove(self._own)
            with contextlib.suppress(OSError):  # another claim, just now
                os.rmdir(self.path)
        else:
            super().release(record)


class InBucket(Place):
    """Objects below the URL of a run.

    GCS and S3 create an object once only (a precondition that fsspec sends with mode="create");
    where a store ignores it, the later claim wins and the earlier one reads that back.
    """

    settle_secs = SETTLE_SECS

    def __init__(self, bucket):
        """`bucket`: storage.Bucket of the workdir."""
        super().__init__()
        self._bucket = bucket
        self.workdir = bucket.local
        self.path = f"{bucket.url}/{FOLDER}"

    def _name(self, number: int) -> str:
        return f"{FOLDER}/{number:06d}.json"

    def _numbers(self) -> list[int]:
        with self._failing():
            return self._bucket.numbers(FOLDER)

    def _read(self, number: int) -> bytes | None:
        with self._failing():
            return self._bucket.read(self._name(number))

    def _create(self, number: int, data: bytes) -> bool:
        with self._failing():
            try:
                self._bucket.write(self._name(number), data, create=True)
            except FileExistsError:
                return False
            return True

    def _write(self, number: int, data: bytes) -> None:
        with self._failing():
            self._bucket.write(self._name(number), data, create=False)

    def _remove(self, number: int) -> None:
        with self._failing(), contextlib.suppress(FileNotFoundError):
            self._bucket.remove(self._name(number))

    @contextlib.contextmanager
    def _failing(self):
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # each client has exceptions of its own
            raise OSError(f"{self.path}: {type(error).__name__}: {error}") from error


def _bytes(record: Mapping) -> bytes:
    return json.dumps(record).encode()
