"""The watchdog, by a clock of the test's and without ending the process that tests it."""

import threading

import pytest

from mypt_jax.monitor import watchdog

LIMIT_SECS = 0.4  # it looks four times as often, by the real clock


class Clock:
    """Stands still unless the test moves it; says when it was read."""

    def __init__(self):
        self._now, self._read = 0.0, threading.Condition()
        self._readings = 0

    def monotonic(self) -> float:
        with self._read:
            self._readings += 1
            self._read.notify_all()
            return self._now

    def advance(self, secs: float) -> None:
        with self._read:
            self._now += secs

    def wait_for_readings(self, count: int) -> None:
        with self._read:
            wanted = self._readings + count
            assert self._read.wait_for(lambda: self._readings >= wanted, timeout=60)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(watchdog, "time", made)
    return made


@pytest.fixture
def ended(monkeypatch):
    codes, once = [], threading.Event()

    def leave(code):
        codes.append(code)
        once.set()

    monkeypatch.setattr(watchdog.os, "_exit", leave)
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback", lambda **_: None)
    return codes, once


def test_beats_keep_it_quiet_and_silence_ends(clock, ended):
    codes, once = ended
    dog = watchdog.Watchdog(LIMIT_SECS)
    for _ in range(3):
        clock.advance(0.75 * LIMIT_SECS)
        clock.wait_for_readings(2)
        dog.beat()
    assert codes == []
    clock.advance(1.25 * LIMIT_SECS)
    assert once.wait(timeout=60)
    dog.close()
    assert {*codes} == {6}


def test_off(ended):
    before = set(threading.enumerate())
    watchdog.Watchdog(0)
    assert [t for t in {*threading.enumerate()} - before if t.name == "watchdog"] == []
