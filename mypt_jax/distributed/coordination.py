"""What several processes of one run say to each other: barriers, broadcasts and a common end.

Process 0 reads and writes the files of a run; what follows from them it tells the others. Every
wait has a limit, so that a missing process ends the others with a line and never hangs them. With
one process everything here returns at once.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data_pipeline.errors import UserError
from mypt_jax import exits

# What a process can ask of all, from weak to strong.
NOTHING, SAVE, STOP = 0, 1, 2
# Numbers what processes say to each other: they all say it in the same order.
_turns = itertools.count()


def client():
    """The coordination service; JAX has no public name for its barriers and values with a limit."""
    from jax._src import distributed

    return distributed.global_state.client


@contextlib.contextmanager
def lost_peer_after(timeout_secs: float, what: str):
    """Turns a missed deadline of the coordination service into LostPeer."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise exits.LostPeer(
            f"the processes did not all {what} within {timeout_secs:g} s (distributed.timeout_secs "
            f"at the start, then distributed.save_timeout_secs): {_missing(error)}"
        ) from error


def _missing(error: BaseException) -> str:
    """Which processes a barrier or a value has waited for, in JAX's own words where it tells."""
    text = " ".join(str(error).split())
    names = re.search(r"timed out task names: ((?:\d+[ ,]*)+)", text)
    key = re.search(r"timed out with key: \S+/(\d+)/(\d+)", text)
    if names:
        return "missing: " + ", ".join(f"process {n}" for n in re.findall(r"\d+", names[1]))
    return f"missing: process {key[2]}" if key else first_line(error)


def first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def barrier(what: str, *, timeout_secs: float) -> None:
    """Returns when all processes have come here. Raises LostPeer when they do not in time."""
    if jax.process_count() > 1:
        with lost_peer_after(timeout_secs, what):
            client().wait_at_barrier(f"mypt_jax/{next(_turns)}", round(1000 * timeout_secs))


def broadcast(what: str, decide: Callable[[], Any], *, timeout_secs: float) -> Any:
    """What `decide` returns on process 0 (plain JSON), for all: files are read by one process.

    A UserError or RunEnd there is raised by all of them.
    """
    if jax.process_count() == 1:
        return decide()
    key, here = f"mypt_jax/{next(_turns)}", jax.process_index()
    if here == 0:
        value, error = _try(decide)
        client().key_value_set(key, json.dumps([value, _told(error)]))
    else:
        with lost_peer_after(timeout_secs, what):
            text = client().blocking_key_value_get(key, round(1000 * timeout_secs))
        value, told = json.loads(text)
        error = None if told is None else _end_of(told)
    if error is not None:
        raise shared(error, timeout_secs)
    return value


def everywhere(what: str, act: Callable[[], None], *, timeout_secs: float) -> None:
    """Acts on every process. A UserError or RunEnd on one is raised by all, and names it."""
    if jax.process_count() == 1:
        act()
        return
    _, error = _try(act)
    for index, text in enumerate(all_gather(json.dumps(_told(error)), what, timeout_secs)):
        told = json.loads(text)
        if told is not None:
            other = _end_of([told[0], f"process {index}: {told[1]}"])
            raise shared(other, timeout_secs) from error


def all_gather(text: str, what: str, timeout_secs: float) -> list[str]:
    """What every process has to say, in their order."""
    service, limit, key = client(), round(1000 * timeout_secs), f"mypt_jax/{next(_turns)}"
    service.key_value_set(f"{key}/{jax.process_index()}", text)
    with lost_peer_after(timeout_secs, what):
        return [
            service.blocking_key_value_get(f"{key}/{index}", limit)
            for index in range(jax.process_count())
        ]


def _try(act: Callable[[], Any]) -> tuple[Any, UserError | exits.RunEnd | None]:
    try:
        with exits.storage():
            return act(), None
    except (UserError, exits.RunEnd) as error:
        return None, error


def _told(error: Exception | None) -> list[str] | None:
    if error is None:
        return None
    name = type(error).__name__ if isinstance(error, exits.RunEnd) else "UserError"
    return [name, str(error)]


def _end_of(told: list[str]) -> UserError | exits.RunEnd:
    name, text = told
    return UserError(text) if name == "UserError" else getattr(exits, name)(text)


def shared(error: UserError | exits.RunEnd, timeout_secs: float) -> Exception:
    """Marks an end that all processes reach; none leaves, and takes the coordinator along, before
    all know."""
    error.shared = True  # ty: ignore[invalid-assignment]
    barrier("hear of an error", timeout_secs=timeout_secs)
    return error


def is_shared(error: BaseException | None) -> bool:
    """Whether all processes end, and in this way."""
    together = (exits.Preempted, exits.ForgettingStop, exits.Divergence)
    return error is None or isinstance(error, together) or getattr(error, "shared", False)


class Requests:
    """What any process asks for, told to all of them for the same step.

    With several processes, an answer is that of the call before: a request travels with the
    computation and nobody waits for it. `ask` is called once per step by all processes.
    """

    def __init__(self, mesh: Mesh):
        self._single = jax.process_count() == 1
        self._previous: jax.Array | None = None
        self._has_saved = False
        if self._single:
            return
        self._sharding = NamedSharding(mesh, P(mesh.axis_names))
        self._size = mesh.size
        self._most = jax.jit(lambda x: x.max(), out_shardings=NamedSharding(mesh, P()))

    def ask(self, request: int) -> int:
        """The strongest request of all processes: NOTHING, SAVE or STOP."""
        if self._single:
            return request
        previous, own = self._previous, np.full(1, request, np.int32)
        everyone = jax.make_array_from_callback((self._size,), self._sharding, lambda _: own)
        self._previous = self._most(everyone)
        answer = NOTHING if previous is None else int(previous)
        if self._has_saved and answer == SAVE:
            answer = NOTHING
        self._has_saved = False
        return answer

    def saved(self) -> None:
        """A save that was on its way when this one was made is not wanted any more; a STOP is.
        Called by all processes after the same step."""
        self._has_saved = True
