"""One run, one owner: a lease beside the run, renewed by its holder, taken over when it is stale.

A lease names its owner and is renewed every RENEW_SECS. Another process on the same machine takes
it over at once when the holder is dead; from elsewhere after STALE_SECS without renewal. A holder
that was frozen for longer finds out before it writes anything: `check`.

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
from collections.abc import Callable

from mypt_jax import exits
from mypt_jax.runs.lease_place import InBucket, InDirectory

RENEW_SECS = 30.0
STALE_SECS = 180.0
SETTLE_SECS = 0.2  # between writing and reading back, so that of two starters one sees the other


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


class Lease:
    """The right to write to a run. `acquire`, then `check` before each write, then `release`.

    Times are in seconds. Ages are only compared with the writer's own clock when it is the same
    machine's; of another host's lease it is watched whether it changes.
    """

    def __init__(self, place: InDirectory | InBucket):
        self._place = place
        self._record = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "renewals": 0,
        }
        self._lost = ""
        self._renewed_at = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def acquire(self) -> str:
        """Takes the lease; returns a line when it was another's. Raises LostPeer when it is held.

        A lease of another host that looks stale is watched for a while before it is taken.
        """
        note = ""
        other = self._place.read()
        if other is not None and not self._is_dead(other):
            age = time.time() - other["renewed"]
            if 0 <= age < STALE_SECS:
                raise exits.LostPeer(
                    f"{self._place.path}: process {other['pid']} on {other['host']} works on "
                    f"this run (renewed {age:.0f} s ago); if it is gone, the run is free in "
                    f"{STALE_SECS - age:.0f} s"
                )
            # Clocks of two hosts may differ: what counts is whether it is still being renewed.
            self._watch(other)
        if other is not None:
            note = f"took over the run from process {other['pid']} on {other['host']}"
        self._write(self._place.claim)
        time.sleep(SETTLE_SECS)
        self._check_owner()
        if self._lost:
            raise exits.LostPeer(self._lost)
        threading.Thread(target=self._renew_forever, name="lease", daemon=True).start()
        return note

    def check(self) -> None:
        """Raises LostPeer when the run has another owner; reads the lease only when in doubt."""
        if self._is_in_doubt():  # asked before the lock, which a slow renewal may hold
            with self._lock:
                if self._is_in_doubt():
                    self._renew()
        if self._lost:
            raise exits.LostPeer(self._lost)

    @property
    def is_lost(self) -> bool:
        """Whether the run is known to have another owner, or to be given free."""
        return bool(self._lost)

    def _is_in_doubt(self) -> bool:
        return not self._lost and _clock() - self._renewed_at > 2 * RENEW_SECS

    def release(self) -> None:
        """Gives the run free, unless it is another's by now; unreachable, it goes stale alone."""
        self._closed.set()
        with self._lock, contextlib.suppress(OSError):
            self._check_owner()
            if not self._lost:
                self._place.release({**self._record, "renewed": time.time()})
                self._lost = "released"

    def _watch(self, seen: dict) -> None:
        deadline = _clock() + 1.5 * RENEW_SECS
        while _clock() < deadline:
            time.sleep(min(1.0, RENEW_SECS / 4))
            now = self._place.read()
            if now is not None and (now["owner"], now["renewals"]) != (
                seen["owner"],
                seen["renewals"],
            ):
                raise exits.LostPeer(
                    f"{self._place.path}: process {now['pid']} on {now['host']} works on this run"
                )

    def _is_dead(self, other: dict) -> bool:
        """Whether the holder is a process of this machine that is no more."""
        here = self._record["machine"]
        return bool(here) and other["machine"] == here and _born(other["pid"]) != other["born"]

    def _renew_forever(self) -> None:
        while not self._closed.wait(RENEW_SECS):
            with self._lock:
                if self._lost or self._closed.is_set():
                    return
                self._renew()

    def _renew(self) -> None:
        try:
            self._check_owner()
            if not self._lost:
                self._write(self._place.renew)
        except OSError as error:
            # A short failure of the file system loses nothing yet; a long one does.
            if _clock() - self._renewed_at > STALE_SECS - RENEW_SECS:
                self._lost = f"{self._place.path} could not be renewed in time: {error}"

    def _check_owner(self) -> None:
        other = self._place.read()
        if other is None or other["owner"] != self._record["owner"]:
            who = f"process {other['pid']} on {other['host']}" if other else "nobody (it is gone)"
            self._lost = (
                f"{self._place.path} belongs to {who} now: this process stops before it writes"
            )

    def _write(self, to_place: Callable[[dict], None]) -> None:
        self._record["renewals"] += 1
        at = _clock()
        to_place({**self._record, "renewed": time.time()})
        self._renewed_at = at
