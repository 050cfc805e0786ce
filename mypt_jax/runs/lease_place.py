"""Where a lease lies: a file in a workdir, or a numbered object in a bucket.

Both are read, claimed by a new owner, renewed by the same one, and released. Neither a shared file
system nor a bucket locks: a claim counts only when it is read back (lease.py).
"""

import contextlib
import json
import os
from collections.abc import Mapping

FILE = "lease.json"
FOLDER = "lease"
RELEASED = "released"


def _record(data: bytes) -> dict | None:
    """A lease's record; None when it is not one, or was released."""
    try:
        record = json.loads(data)
        known = {"owner", "pid", "host", "renewed", "machine", "born", "renewals"} <= set(record)
    except (ValueError, TypeError):
        return None
    return record if known and not record.get(RELEASED) else None


class InDirectory:
    """lease.json, replaced by rename, so that a reader sees the old record or the new one."""

    def __init__(self, workdir: str):
        self.path = os.path.join(workdir, FILE)

    def read(self) -> dict | None:
        try:
            with open(self.path, "rb") as file:
                return _record(file.read())
        except FileNotFoundError:
            return None

    def claim(self, record: Mapping) -> None:
        # Not by a name that another owner would use as well.
        temporary = f"{self.path}.{record['owner']}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(temporary, self.path)

    renew = claim

    def release(self, record: Mapping) -> None:
        del record
        os.remove(self.path)


class InBucket:
    """lease/000001.json, 000002.json, ...: the highest number names the owner.

    A claim creates the next number. GCS and S3 create an object once only (a precondition that
    fsspec sends with mode="create"): of two starters one fails there and then; where a store
    ignores it, the later one wins and the other reads that back. An owner writes its own number
    only and no number comes twice, so that a frozen owner's late renewal changes nothing.
    """

    def __init__(self, bucket):
        """`bucket`: storage.Bucket of the workdir. All methods raise OSError when it fails."""
        self._bucket = bucket
        self._newest = self._own = 0
        self.path = f"{bucket.url}/{FOLDER}"

    def _name(self, number: int) -> str:
        return f"{FOLDER}/{number:06d}.json"

    def read(self) -> dict | None:
        with self._failing():
            numbers = self._bucket.numbers(FOLDER)
            self._newest = max(numbers, default=0)
            return _record(self._bucket.read(self._name(self._newest))) if numbers else None

    def claim(self, record: Mapping) -> None:
        with self._failing():
            self._own = self._newest + 1
            with contextlib.suppress(FileExistsError):  # another one's: it is read back
                self._bucket.write(self._name(self._own), _bytes(record), create=True)
            for number in self._bucket.numbers(FOLDER):
                if number < self._own:
                    self._bucket.remove(self._name(number))

    def renew(self, record: Mapping) -> None:
        with self._failing():
            self._bucket.write(self._name(self._own), _bytes(record), create=False)

    def release(self, record: Mapping) -> None:
        self.renew({**record, RELEASED: True})

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
