"""The ledger: every moment once, over restarts, with steps done again apart."""

import json

import pytest

from mypt_jax.monitor import goodput


class Clock:
    """Time that passes when the test says so."""

    def __init__(self):
        self.now = 1.7e9

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, secs: float) -> None:
        self.now += secs


@pytest.fixture
def time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(goodput, "time", clock)
    return clock


def ledger(path, started):
    made = goodput.Ledger(str(path), started=started, is_writer=True)
    made.open()
    return made


def test_phases_partition_the_wall_time(tmp_path, time):
    begin = time.time()
    first = ledger(tmp_path, begin - 5)  # the process began before anything was imported
    first.before_step(0)
    time.sleep(0.1)
    with first.phase("save"):
        time.sleep(0.05)
    first.before_step(1)
    time.sleep(0.1)
    summary = first.summary()
    secs = summary["secs"]
    assert secs["initialisation"] == pytest.approx(5)
    assert secs["steps"] == pytest.approx(0.2)
    assert secs["save"] == pytest.approx(0.05)
    assert sum(secs.values()) == pytest.approx(summary["wall_secs"])
    assert summary["wall_secs"] == pytest.approx(time.time() - begin + 5)


def test_a_restart_counts_the_gap_and_steps_done_again(tmp_path, time):
    begin = time.time() - 100
    first = ledger(tmp_path, begin)
    first.before_step(7)
    first.flush(8, now=True)  # then it is killed
    record = json.loads((tmp_path / goodput.FILE).read_text())
    record["starts"][0]["ended"] -= 40  # as if it had been 40 s ago
    record["starts"][0]["secs"]["initialisation"] -= 40
    (tmp_path / goodput.FILE).write_text(json.dumps(record))
    second = ledger(tmp_path, time.time())
    assert second.reached == 8
    second.before_step(7)
    time.sleep(0.1)
    second.before_step(8)
    time.sleep(0.1)
    summary = second.summary()
    assert summary["starts"] == 2
    assert summary["secs"]["stopped"] == pytest.approx(40)
    assert summary["secs"]["redone_steps"] == pytest.approx(0.1)
    assert sum(summary["secs"].values()) == pytest.approx(summary["wall_secs"])
    assert goodput.line(summary).startswith("goodput 0 % of 1".replace(" %", "%"))


def test_one_who_lost_the_run_writes_nothing(tmp_path, time):
    """The new owner's record would be gone."""
    mine = goodput.Ledger(
        str(tmp_path), started=time.time(), is_writer=True, is_owner=lambda: False
    )
    mine.flush(1, now=True)
    assert not list(tmp_path.iterdir())


def test_a_clock_set_back_makes_no_negative_time(tmp_path):
    starts = [
        {"started": 1000.0, "ended": 1010.0, "done": 5, "secs": {"steps": 10.0}},
        {"started": 900.0, "ended": 920.0, "done": 9, "secs": {"steps": 20.0}},
    ]
    summary = goodput.summarise(starts)
    assert summary["secs"]["stopped"] == 0.0
    assert summary["wall_secs"] == 30.0 and summary["goodput"] == 1.0


def test_writes_at_most_once_a_second(tmp_path, time):
    made = ledger(tmp_path, time.time())
    made.flush(1, now=True)
    before = (tmp_path / goodput.FILE).stat().st_mtime_ns
    for done in range(50):
        time.sleep(0.02)
        made.flush(done)
    assert (tmp_path / goodput.FILE).stat().st_mtime_ns == before
    time.sleep(0.02)
    made.flush(50)
    assert json.loads((tmp_path / goodput.FILE).read_text())["starts"][-1]["done"] == 50
