"""What several processes agree on: requests reach all for the same step, and none is lost."""

import jax
import numpy as np
import pytest

from mypt_jax import exits
from mypt_jax.distributed import coordination
from mypt_jax.distributed.coordination import NOTHING, SAVE, STOP

COUNT = 3


class Sum:
    """The largest of what all processes put in at one step, as a device would have it later."""

    def __init__(self, rows: list):
        self._rows = rows

    def __int__(self) -> int:
        assert len(self._rows) == COUNT, "read before all processes have asked"
        return int(max(row.max() for row in self._rows))


@pytest.fixture
def processes(monkeypatch) -> list[coordination.Requests]:
    """COUNT processes that ask in turn; each step's rows are seen by all."""
    steps: dict[int, list] = {}
    asked = dict.fromkeys(range(COUNT), 0)

    def together(shape, index, own):
        asked[index] += 1
        steps.setdefault(asked[index], []).append(own((slice(0, 1),)))
        return Sum(steps[asked[index]])

    monkeypatch.setattr(jax, "make_array_from_callback", together)
    made = []
    for index in range(COUNT):
        requests = coordination.Requests.__new__(coordination.Requests)
        requests._single, requests._size, requests._sharding = False, COUNT, index
        requests._previous, requests._has_saved, requests._most = None, False, lambda x: x
        made.append(requests)
    return made


def run_until_stop(processes, *, signalled: int, saves: set[int]) -> int:
    """The step at which all stop, when process 1 is asked to in step `signalled`."""
    for step in range(1, 20):
        answers = [
            requests.ask(STOP if index == 1 and step >= signalled else NOTHING)
            for index, requests in enumerate(processes)
        ]
        assert len(set(answers)) == 1
        if answers[0] == STOP:
            return step
        if step in saves:
            for requests in processes:
                requests.saved()
    raise AssertionError("nobody stopped")


@pytest.mark.parametrize("signalled", range(1, 9))
def test_a_stop_is_answered_one_step_later_also_around_saves(processes, signalled):
    assert run_until_stop(processes, signalled=signalled, saves={4, 6, 8}) == signalled + 1


def test_a_save_is_made_once(processes):
    """Process 0 asks by its clock, which it sets only when the save is made."""
    made = []
    for step in range(1, 9):
        is_due = 3 <= step and not made
        answers = [
            requests.ask(SAVE if index == 0 and is_due else NOTHING)
            for index, requests in enumerate(processes)
        ]
        if answers[0] == SAVE:
            made.append(step)
            for requests in processes:
                requests.saved()
    assert made == [4]


@pytest.mark.parametrize(
    "text",
    [
        "DEADLINE_EXCEEDED: Barrier timed out. Id: mypt_jax/0::0. This usually happens because\n"
        "# of tasks that reached the barrier: 1/4.\nThe first task at the barrier: 0. "
        "Some timed out task names:\n1\n3\n\n\nRPC: /xla.coordination.CoordinationService/Barrier",
        "DEADLINE_EXCEEDED: Barrier timed out. Some timed out task names:\n1, 3\n RPC: x",
    ],
)
def test_who_is_missing_at_a_barrier_is_named(text):
    with pytest.raises(exits.LostPeer, match=r"come to a save within 2 s .*: missing: .*"):
        with coordination.lost_peer_after(2.0, "come to a save"):
            raise RuntimeError(text)
    assert coordination._missing(RuntimeError(text)) == "missing: process 1, process 3"


def test_who_did_not_say_a_value_is_named():
    error = RuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out with key: mypt_jax/7/2 and x")
    assert coordination._missing(error) == "missing: process 2"
    assert coordination._missing(RuntimeError("something else")) == "something else"


def test_one_process_asks_nobody():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    requests = coordination.Requests(mesh)
    assert [requests.ask(kind) for kind in (NOTHING, SAVE, STOP)] == [NOTHING, SAVE, STOP]
