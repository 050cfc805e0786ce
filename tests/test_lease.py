"""One run, one owner: who may take a lease, and when a holder finds out that it lost it."""

import json
import os
import time

import pytest

from mypt_jax import exits, lease


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECS", 0.05)
    monkeypatch.setattr(lease, "STALE_SECS", 0.4)
    monkeypatch.setattr(lease, "SETTLE_SECS", 0.02)


def held_elsewhere(path, *, renewed, **changes) -> dict:
    record = {"owner": "x", "host": "far", "machine": "far", "pid": 1, "born": 1, "renewals": 3}
    record |= {"renewed": renewed, **changes}
    (path / lease.FILE).write_text(json.dumps(record))
    return record


def test_release_gives_the_run_free(tmp_path):
    first = lease.Lease(str(tmp_path))
    assert first.acquire() == ""
    assert json.loads((tmp_path / lease.FILE).read_text())["pid"] == os.getpid()
    with pytest.raises(exits.LostPeer, match=f"process {os.getpid()} on "):
        lease.Lease(str(tmp_path)).acquire()
    first.release()
    assert not (tmp_path / lease.FILE).exists()
    second = lease.Lease(str(tmp_path))
    assert second.acquire() == ""
    second.release()


def test_a_dead_process_of_this_machine_is_followed_at_once(tmp_path):
    """The pid may be in use again: the time of birth tells."""
    held_elsewhere(tmp_path, renewed=time.time(), machine=lease._machine(), pid=os.getpid(), born=1)
    owned = lease.Lease(str(tmp_path))
    assert "took over the run" in owned.acquire()
    owned.release()


def test_another_host_has_its_time(tmp_path):
    held_elsewhere(tmp_path, renewed=time.time())
    with pytest.raises(exits.LostPeer, match="on far works on this run"):
        lease.Lease(str(tmp_path)).acquire()
    held_elsewhere(tmp_path, renewed=time.time() - 1)
    owned = lease.Lease(str(tmp_path))
    assert "took over the run from process 1 on far" in owned.acquire()
    owned.release()


@pytest.mark.parametrize("age", [-3600.0, 3600.0], ids=["clock ahead", "clock behind"])
def test_a_living_holder_with_another_clock_keeps_its_run(tmp_path, monkeypatch, age):
    """What counts is whether it renews, not what its clock says."""
    record = held_elsewhere(tmp_path, renewed=time.time() - age)
    reads = lease.Lease._read

    def read(self):
        record["renewals"] += 1
        (tmp_path / lease.FILE).write_text(json.dumps(record))
        return reads(self)

    monkeypatch.setattr(lease.Lease, "_read", read)
    with pytest.raises(exits.LostPeer, match="works on this run"):
        lease.Lease(str(tmp_path)).acquire()


def test_a_holder_finds_out_before_it_writes(tmp_path, monkeypatch):
    owned = lease.Lease(str(tmp_path))
    owned.acquire()
    owned._closed.set()  # frozen: its thread renews no more
    held_elsewhere(tmp_path, renewed=time.time())
    time.sleep(0.15)
    with pytest.raises(exits.LostPeer, match="belongs to process 1 on far"):
        owned.check()
    owned.release()
    assert json.loads((tmp_path / lease.FILE).read_text())["owner"] == "x"


def test_renewal_goes_on_and_is_cheap_to_check(tmp_path, monkeypatch):
    owned = lease.Lease(str(tmp_path))
    owned.acquire()
    before = json.loads((tmp_path / lease.FILE).read_text())["renewals"]
    time.sleep(0.3)
    assert json.loads((tmp_path / lease.FILE).read_text())["renewals"] >= before + 2
    monkeypatch.setattr(lease.Lease, "_read", lambda self: pytest.fail("read without need"))
    owned.check()
    monkeypatch.undo()
    owned.release()


def test_junk_is_no_lease(tmp_path):
    (tmp_path / lease.FILE).write_text("{junk")
    owned = lease.Lease(str(tmp_path))
    assert owned.acquire() == ""
    owned.release()
