"""The watchdog, without ending the process that tests it."""

import time

import pytest

from mypt_jax.monitor import watchdog


@pytest.fixture
def ended(monkeypatch):
    codes = []
    monkeypatch.setattr(watchdog.os, "_exit", codes.append)
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback", lambda **_: None)
    return codes


def test_beats_keep_it_quiet_and_silence_ends(ended):
    dog = watchdog.Watchdog(0.3)
    for _ in range(6):
        time.sleep(0.1)
        dog.beat()
    assert ended == []
    time.sleep(0.8)
    dog.close()
    assert ended and set(ended) == {6}


def test_off(ended):
    watchdog.Watchdog(0)
    time.sleep(0.1)
    assert ended == []
