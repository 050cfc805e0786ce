"""More than one process: JAX's own runtime started, configs compared, lost ones noticed.

Processes meet at a coordinator. Which ones there are comes from config.distributed, or is detected
(cluster.py); alone, nothing is started. Every wait has a limit, so that a missing process ends the
others with a line and never hangs them.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping

import jax
from jax.experimental import multihost_utils

from data_pipeline import atomic
from data_pipeline.errors import UserError
from mypt_jax import console, exits
from mypt_jax.distributed import cluster, coordination
from mypt_jax.schema import keys, tree


def start(settings: Mapping) -> None:
    """Joins the other processes, if there are any; before the first use of a device.

    Raises UserError for settings that contradict each other, LostPeer when the processes do not
    all arrive within timeout_secs.
    """
    given = {
        "coordinator": bool(settings["coordinator"]),
        "num_processes": settings["num_processes"] > 0,
        "process_id": settings["process_id"] >= 0,
    }
    options: dict = {}
    if any(given.values()):
        _check(settings, given)
        options = dict(
            coordinator_address=settings["coordinator"],
            num_processes=settings["num_processes"],
            process_id=settings["process_id"],
        )
    elif not cluster.detected(os.environ):
        return
    local_devices = cluster.local_devices(os.environ)
    # JAX's own SIGTERM handler would take the place of preemption.py's.
    jax.config.update("jax_enable_preemption_service", False)
    limit = max(1, round(settings["timeout_secs"]))
    late = (
        f"the processes did not meet within {limit} s (distributed.timeout_secs): "
        f"this is {_who(options)}; all want the same coordinator and num_processes, each a "
        "process_id of its own, and what another one printed may say why it is not here"
    )
    # At its own limit JAX aborts with a dump of the stack; this one comes first.
    alarm = threading.Timer(limit, _give_up, (late,))
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            **options,
            local_device_ids=local_devices,
            initialization_timeout=limit + 60,
            heartbeat_timeout_seconds=limit + 60,  # heartbeat.py comes first
            shutdown_timeout_seconds=limit,
        )
    except (RuntimeError, ValueError) as error:
        raise exits.LostPeer(
            f"{_who(options)} cannot join the others: {coordination.first_line(error)}"
        ) from error
    finally:
        alarm.cancel()


def _who(options: Mapping) -> str:
    if not options:
        return "a process of a cluster that was detected"
    where = options["coordinator_address"]
    return f"process {options['process_id']} of {options['num_processes']} at {where}"


def _give_up(line: str) -> None:
    console.say_at_once(f"error: {line}")
    os._exit(exits.LostPeer.code)


def _check(settings: Mapping, given: Mapping[str, bool]) -> None:
    example = (
        "--config.distributed.coordinator=HOST:PORT --config.distributed.num_processes=2 "
        "--config.distributed.process_id=0"
    )
    if not all(given.values()):
        missing = ", ".join(key for key, there in given.items() if not there)
        raise UserError(f"distributed: {missing} missing; all three go together: {example}")
    host, _, port = settings["coordinator"].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UserError(f"distributed.coordinator is {settings['coordinator']!r}: {example}")
    if settings["process_id"] >= settings["num_processes"]:
        raise UserError(
            f"distributed.process_id is {settings['process_id']}, wanted 0 to "
            f"{settings['num_processes'] - 1} for {settings['num_processes']} processes"
        )
    if settings["process_id"] == 0:
        _check_port(int(port))


def _check_port(port: int) -> None:
    """Raises UserError for a port that is taken: JAX's own service would crash on it."""
    family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UserError(
                f"distributed.coordinator: port {port} cannot be used here ({error.strerror}); "
                "name another port to all processes"
            ) from error


def compare(config: Mapping, *, timeout_secs: float) -> None:
    """Raises UserError on every process when one has another config than process 0.

    LostPeer when a process does not answer in time.
    """
    if jax.process_count() == 1:
        return
    own = {row.name for row in keys.ROWS if row.per_process}
    flat = {name: value for name, value in tree.flat(config).items() if name not in own}
    _compare("another config", flat, "start all with one", timeout_secs)
    # Connects the devices while all processes are here: the first collective of a program may
    # otherwise wait for the compilation of another process, and some transports give up early.
    with coordination.lost_peer_after(timeout_secs, "connect their devices"):
        multihost_utils.sync_global_devices("mypt_jax/connected")


def share(directory: str, *, timeout_secs: float) -> bool:
    """Whether all processes see one directory: what process 0 puts there, every other one finds."""
    if jax.process_count() == 1:
        return True
    what = f"look into {directory}"

    def put() -> str:
        name = f".{uuid.uuid4().hex}{atomic.PARTIAL}"
        with open(os.path.join(directory, name), "wb"):
            return name

    path = os.path.join(directory, coordination.broadcast(what, put, timeout_secs=timeout_secs))
    found = coordination.all_gather(json.dumps(os.path.isfile(path)), what, timeout_secs)
    if jax.process_index() == 0:
        os.remove(path)
    return all(json.loads(one) for one in found)


def compare_files(digests: Mapping[str, str], *, timeout_secs: float) -> None:
    """Raises UserError on every process when one reads other files than process 0.

    `digests` say what was read, by name; what process 0 needs no more is not compared. Hosts with
    other text at the same path would train together, each on its own.
    """
    if jax.process_count() > 1:
        _compare(
            "other files", digests, "give all hosts the same ones", timeout_secs, only_common=True
        )


def _compare(
    what: str, own: Mapping, advice: str, timeout_secs: float, *, only_common: bool = False
) -> None:
    text = json.dumps(own, sort_keys=True, default=str)
    texts = coordination.all_gather(text, f"say whether they have {what}", timeout_secs)
    for other, theirs in enumerate(texts):
        first, theirs = json.loads(texts[0]), json.loads(theirs)
        keys = {*first} & {*theirs} if only_common else {*first, *theirs}
        differing = sorted(key for key in keys if first.get(key) != theirs.get(key))
        if differing:
            found = "; ".join(
                f"{key}: {first.get(key)} on process 0, {theirs.get(key)} on process {other}"
                for key in differing[:3]
            )
            line = f"process {other} has {what} than process 0 ({found}); {advice}"
            raise coordination.shared(UserError(line), timeout_secs)


@contextlib.contextmanager
def peers(who_is_missing: Callable[[], str]):
    """Turns what JAX raises when another process is gone into LostPeer, which names it."""
    try:
        yield
    except UserError:
        raise
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        lost = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
        if jax.process_count() == 1 or not lost or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise exits.LostPeer(
            f"another process of this run is gone: {who_is_missing()} "
            f"({coordination.first_line(error)}); run all of them again to resume"
        ) from error


def leave(code: int, error: BaseException) -> int:
    """Ends one of several processes that failed: at once, since JAX's own end waits for the
    others, who may wait for this one. Ends that all processes reach together are left alone."""
    if coordination.client() is not None and not coordination.is_shared(error):
        sys.stdout.flush()
        sys.stderr.flush()
        # The coordinator goes last, since its end aborts the others; but not where a process is
        # lost already, since JAX then aborts this one within moments.
        if jax.process_index() == 0 and not isinstance(error, exits.LostPeer):
            time.sleep(2)
        os._exit(code)
    return code
