"""A workdir taken into possession: by its one owner, who may go on with this config."""

import contextlib
import os
from collections.abc import Mapping

from mypt_jax import exits
from mypt_jax.checkpoint import retention
from mypt_jax.distributed import coordination
from mypt_jax.runs import layout, lease, lease_place
from mypt_jax.schema import changes, recorded
from mypt_jax.storage import mirror
from mypt_jax.train import step


def lease_of(link: mirror.Mirror, workdir: str) -> lease.Lease:
    """A run in a bucket has its lease there, where another machine sees it."""
    if link.bucket is None:
        return lease.Lease(lease_place.InDirectory(workdir))
    return lease.Lease(lease_place.InBucket(link.bucket))


def take(
    config: Mapping,
    program: step.Program,
    owned: lease.Lease,
    link: mirror.Mirror,
    stack: contextlib.ExitStack,
) -> list[str]:
    """Makes process 0 the owner of the run, when it may go on with this config; returns notes."""
    workdir = config["workdir"]

    def enter() -> list[str]:
        changed = _changes(config)
        disk = retention.check_disk(
            workdir, program.abstract_state, program.abstract_params, keep=config["checkpoint"]
        )
        notes = _take_over(owned, link, workdir, stack)
        # Again, where the steps have come from a bucket just now.
        return [*notes, disk, *(changed or _changes(config))]

    limit = config["distributed"]["save_timeout_secs"]
    return coordination.broadcast("see the run opened", enter, timeout_secs=limit)


def _changes(config: Mapping) -> list[str]:
    """Lines on what this start changes in a run that is resumed. Raises UserError."""
    workdir = config["workdir"]
    if not layout.steps(workdir):
        return []
    found = changes.at_resume(recorded.config(workdir), config)
    return [f"changed at resume: {changes.shown({key: found[key]})}" for key in found]


def _take_over(
    owned: lease.Lease, link: mirror.Mirror, workdir: str, stack: contextlib.ExitStack
) -> list[str]:
    """Makes this process the owner of the run, or raises LostPeer; returns notes."""
    existed = os.path.isdir(workdir)
    try:
        os.makedirs(workdir, exist_ok=True)
        note = owned.acquire()
    except OSError as error:
        raise exits.StorageFailure(f"workdir {workdir} cannot be written: {error}") from None

    def release():
        owned.release()
        if not existed:
            with contextlib.suppress(OSError):
                os.rmdir(workdir)  # the run failed before it wrote anything

    stack.callback(release)
    link.take_over()
    return [f"warning: {note}"] if note else []
