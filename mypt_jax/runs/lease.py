"""One run, one owner: a lease beside the run, renewed by its holder, taken over when it is stale.

A lease names its owner and is renewed every RENEW_SECS. Another process on the same machine takes
it over at once when the holder is dead; from elsewhere after STALE_SECS without renewal. A holder
that was frozen for longer, or whose workdir was renamed or removed, finds out before it writes
anything: `check`. Owners are numbered and a number is created once (lease_place.py), so that two
never own a run because one of their writes was slow.

What is not promised: between `check` and the end of the write that follows there is a moment. A
process frozen just there for three minutes may still finish that one file or object; the manifest
of a step then does not fit it, and the step is passed over.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from typing import Any

from mypt_jax import exits
from mypt_jax.runs.lease_place import RELEASED, Place, Seen

RENEW_SECS = 30.0
STALE_SECS = 180.0


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _machine() -> str:
    """Where a process number means the same: this boot and this set of process numbers."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # unknown: liveness is judged by renewals only


def _born(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 when it is not alive."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def holder(place: Place) -> str:
    """ "process 12 on host" that has the run, as far as can be seen from here; "" for none."""
    record = place.look().record
    if record is None or record.get(RELEASED, False) or is_dead(record):
        return ""
    return f"process {record['pid']} on {record['host']}"


def is_dead(other: dict) -> bool:
    """Whether a holder is a process of this machine that is no more."""
    here = _machine()
    return bool(here) and other["machine"] == here and _born(other["pid"]) != other["born"]


class Lease:
    """The right to write to a run. `acquire`, then `check` before each write, then `release`.

    Times are in seconds. Ages are only compared with the writer's own clock when it is the same
    machine's; of another host's lease it is watched whether it changes.
    """

    _is_dead = staticmethod(is_dead)

    def __init__(self, place: Place):
        self._place = place
        self._record: dict[str, Any] = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "renewals": 0,
        }
        self._end: exits.RunEnd | None = None  # why this process may write no more
        self._renewed_at = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def acquire(self) -> str:
        """Takes the lease; returns a line when it was another's. Raises LostPeer when it is held.

        A lease of another host that looks stale is watched for a while before it is taken, and so
        is one that cannot be read: it may be about to be written.
        """
        while True:
            seen = self._place.look()
            other = seen.record
            is_free = seen.number < 0 or (other or {}).get(RELEASED, False)
            if other is None:
                if seen.number > 0 and not self._is_still(seen):
                    continue
            elif not is_free and not self._is_dead(other):
                self._refuse_unless_stale(other)
                if not self._is_still(seen):
                    continue
            at = _clock()
            if self._place.claim(seen, self._renewed()):
                break
        self._renewed_at = at
        threading.Thread(target=self._renew_forever, name="lease", daemon=True).start()
        if is_free or other is None:
            return ""
        return f"took over the run from process {other['pid']} on {other['host']}"

    def check(self) -> None:
        """Raises LostPeer when the run has another owner, StorageFailure when it is not there.

        All owners are looked at only when in doubt.
        """
        if self._is_in_doubt():  # asked before the lock, which a slow renewal may hold
            with self._lock:
                if self._is_in_doubt():
                    self._renew()
        if self._end is not None:
            raise self._end

    @property
    def is_lost(self) -> bool:
        """Whether the run is known to have another owner, to be gone, or to be given free."""
        return self._end is not None or not self._place.is_held()

    def _is_in_doubt(self) -> bool:
        is_late = _clock() - self._renewed_at > 2 * RENEW_SECS
        return self._end is None and (is_late or not self._place.is_held())

    def release(self) -> None:
        """Gives the run free, unless it is another's by now; unreachable, it goes stale alone."""
        self._closed.set()
        with self._lock, contextlib.suppress(OSError):
            self._check_owner()
            if self._end is None:
                self._place.release(self._renewed())
                self._end = exits.LostPeer(f"{self._place.path} was released")

    def _refuse_unless_stale(self, other: dict) -> None:
        age = time.time() - other["renewed"]
        if 0 <= age < STALE_SECS:
            raise exits.LostPeer(
                f"{self._place.path}: process {other['pid']} on {other['host']} works on this run "
                f"(renewed {age:.0f} s ago); if it is gone, the run is free in "
                f"{STALE_SECS - age:.0f} s"
            )

    def _is_still(self, seen: Seen) -> bool:
        """Whether the newest lease stays as it was `seen`. Raises LostPeer where it is renewed.

        Clocks of two hosts may differ: what counts is whether it changes.
        """
        deadline = _clock() + 1.5 * RENEW_SECS
        while _clock() < deadline:
            time.sleep(min(1.0, RENEW_SECS / 4))
            now = self._place.look()
            if (now.number, now.record) == (seen.number, seen.record):
                continue
            if seen.record and now.record and now.record["owner"] == seen.record["owner"]:
                if now.record.get(RELEASED):
                    return False
                raise exits.LostPeer(
                    f"{self._place.path}: process {now.record['pid']} on {now.record['host']} "
                    "works on this run"
                )
            return False
        return True

    def _renew_forever(self) -> None:
        while not self._closed.wait(RENEW_SECS):
            with self._lock:
                if self._end is not None or self._closed.is_set():
                    return
                self._renew()

    def _renew(self) -> None:
        try:
            at = _clock()
            self._check_owner()
            if self._end is None:
                self._place.renew(self._renewed())
                self._renewed_at = at
        except OSError as error:
            # A short failure of the file system loses nothing yet; a long one does.
            if _clock() - self._renewed_at > STALE_SECS - RENEW_SECS:
                self._end = exits.LostPeer(
                    f"{self._place.path} could not be renewed in time: {error}"
                )

    def _check_owner(self) -> None:
        seen = self._place.look()
        if not os.path.isdir(self._place.workdir) or seen.number < 0:
            self._end = exits.StorageFailure(
                f"workdir {self._place.workdir} is gone: it was renamed or removed while the run "
                "was at work; where it is now, --config.workdir resumes it from its newest "
                "checkpoint"
            )
        elif not self._place.is_own(seen):
            who = f"process {seen.record['pid']} on {seen.record['host']}" if seen.record else ""
            self._end = exits.LostPeer(
                f"{self._place.path} belongs to {who or 'another process'} now: this process "
                "stops before it writes"
            )

    def _renewed(self) -> dict:
        self._record["renewals"] += 1
        return {**self._record, "renewed": time.time()}
