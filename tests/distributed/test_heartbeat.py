"""Who has not been heard of, by a clock and a coordinator of the test's own."""

import jax
import pytest

from mypt_jax import exits
from mypt_jax.distributed import coordination, heartbeat


class Coordinator:
    """The values that processes have set."""

    def __init__(self):
        self.values: dict[str, str] = {}
        self.is_frozen = False

    def key_value_set(self, key, value, allow_overwrite):
        if self.is_frozen:
            raise RuntimeError("DEADLINE_EXCEEDED")
        self.values[key] = value

    def key_value_dir_get(self, folder):
        return [(key, value) for key, value in self.values.items() if key.startswith(folder)]


@pytest.fixture
def coordinator(monkeypatch) -> Coordinator:
    made = Coordinator()
    monkeypatch.setattr(coordination, "client", lambda: made)
    return made


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def listener(monkeypatch, coordinator, clock):
    """listener(index) -> Heartbeat of one of three processes, without its threads."""
    monkeypatch.setattr(heartbeat.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(jax, "process_count", lambda: 3)

    def begin(index: int) -> heartbeat.Heartbeat:
        monkeypatch.setattr(jax, "process_index", lambda: index)
        return heartbeat.Heartbeat(60.0)

    return begin


def test_a_silent_process_is_named_and_a_late_one_is_not(listener, coordinator, clock):
    own = listener(0)
    for beat in range(1, 9):
        clock[0] += 10
        coordinator.values["mypt_jax/heartbeat/1"] = str(beat)
        if beat <= 1:
            coordinator.values["mypt_jax/heartbeat/2"] = "1"
        own._beat_once(beat)
        assert own._missing(60.0) == ("process 2" if beat == 8 else "")


def test_a_process_that_left_as_it_should_is_not_missed(listener, coordinator, clock):
    with listener(2):
        pass
    own = listener(0)
    clock[0] += 50
    coordinator.values["mypt_jax/heartbeat/1"] = "1"
    own._beat_once(1)
    clock[0] += 50
    own._beat_once(2)
    assert own._missing(60.0) == ""
    clock[0] += 50
    own._beat_once(3)
    assert own._missing(60.0) == "process 1"


def test_a_process_that_fails_alone_says_nothing(listener, coordinator):
    with pytest.raises(exits.StorageFailure):
        with listener(1):
            raise exits.StorageFailure("full")
    assert coordinator.values == {}
    with pytest.raises(exits.Preempted):
        with listener(1):
            raise exits.Preempted("all of them")
    assert coordinator.values == {"mypt_jax/heartbeat/1": "bye"}


def test_a_coordinator_that_does_not_answer_is_named(listener, coordinator, clock):
    own = listener(1)
    coordinator.is_frozen = True
    clock[0] += 61
    with pytest.raises(RuntimeError):
        own._beat_once(1)
    assert own._missing(60.0) == "process 0, the coordinator,"


def test_after_a_pause_of_its_own_a_process_blames_nobody(listener, coordinator, clock):
    """It was frozen itself: what it has not heard for so long is no news."""
    own = listener(1)
    coordinator.values |= {"mypt_jax/heartbeat/0": "1", "mypt_jax/heartbeat/2": "1"}
    own._beat_once(1)
    clock[0] += 300
    coordinator.values |= {"mypt_jax/heartbeat/0": "30", "mypt_jax/heartbeat/2": "30"}
    own._beat_once(2)
    assert own._missing(60.0) == ""


def test_who_is_gone_is_waited_for(listener, coordinator, clock, monkeypatch):
    """A computation failed: the others still beat, and one does not."""
    own = listener(0)

    def ten_secs_later(secs):
        clock[0] += 10
        coordinator.values["mypt_jax/heartbeat/1"] = str(clock[0])
        own._beat_once(1)

    monkeypatch.setattr(heartbeat.time, "sleep", ten_secs_later)
    assert own.who_is_missing() == "process 2"
    assert clock[0] == 140.0
    monkeypatch.setattr(own, "_missing", lambda secs: "")
    assert own.who_is_missing() == "it is not known which"


def test_one_process_has_nobody_to_listen_to():
    with heartbeat.Heartbeat(0.01) as own:
        assert own._heard == {}
