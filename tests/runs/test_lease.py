"""One run, one owner: who may take a lease, and when a holder finds out that it lost it."""

import json
import os
import time

import pytest

from mypt_jax import exits
from mypt_jax.runs import lease, lease_place


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECS", 0.05)
    monkeypatch.setattr(lease, "STALE_SECS", 0.4)
    monkeypatch.setattr(lease_place.InBucket, "settle_secs", 0.02)


def leased(path) -> lease.Lease:
    return lease.Lease(lease_place.InDirectory(str(path)))


def held_elsewhere(path, *, renewed, number=1, **changes) -> dict:
    record = {"owner": "x", "host": "far", "machine": "far", "pid": 1, "born": 1, "renewals": 3}
    record |= {"renewed": renewed, **changes}
    (path / "config.json").touch()
    (path / lease_place.FOLDER).mkdir(exist_ok=True)
    (path / lease_place.FOLDER / f"{number:06d}.json").write_text(json.dumps(record))
    return record


def newest(path) -> dict:
    return json.loads(max((path / lease_place.FOLDER).iterdir()).read_text())


def later(monkeypatch, secs: float) -> None:
    """The clock goes on, however fast the machine is."""
    now = lease._clock
    monkeypatch.setattr(lease, "_clock", lambda: now() + secs)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_release_gives_the_run_free(tmp_path):
    first = leased(tmp_path)
    assert first.acquire() == ""
    assert newest(tmp_path)["pid"] == os.getpid()
    with pytest.raises(exits.LostPeer, match=f"process {os.getpid()} on "):
        leased(tmp_path).acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []  # nothing else was written
    second = leased(tmp_path)
    assert second.acquire() == ""
    (tmp_path / "config.json").touch()
    second.release()
    assert newest(tmp_path)["released"]
    third = leased(tmp_path)
    assert third.acquire() == ""
    assert [p.name for p in (tmp_path / lease_place.FOLDER).iterdir()] == ["000002.json"]
    third.release()


def test_a_dead_process_of_this_machine_is_followed_at_once(tmp_path):
    """The pid may be in use again: the time of birth tells."""
    held_elsewhere(tmp_path, renewed=time.time(), machine=lease._machine(), pid=os.getpid(), born=1)
    owned = leased(tmp_path)
    assert "took over the run" in owned.acquire()
    owned.release()


def test_another_host_has_its_time(tmp_path):
    held_elsewhere(tmp_path, renewed=time.time())
    with pytest.raises(exits.LostPeer, match="on far works on this run"):
        leased(tmp_path).acquire()
    held_elsewhere(tmp_path, renewed=time.time() - 1)
    owned = leased(tmp_path)
    assert "took over the run from process 1 on far" in owned.acquire()
    owned.release()


@pytest.mark.parametrize("age", [-3600.0, 3600.0], ids=["clock ahead", "clock behind"])
def test_a_living_holder_with_another_clock_keeps_its_run(tmp_path, monkeypatch, age):
    """What counts is whether it renews, not what its clock says."""
    record = held_elsewhere(tmp_path, renewed=time.time() - age)
    looks = lease_place.InDirectory.look

    def look(self):
        held_elsewhere(tmp_path, **record | {"renewals": record["renewals"] + 1})
        record["renewals"] += 1
        return looks(self)

    monkeypatch.setattr(lease_place.InDirectory, "look", look)
    with pytest.raises(exits.LostPeer, match="works on this run"):
        leased(tmp_path).acquire()


def test_a_holder_finds_out_before_it_writes(tmp_path, monkeypatch):
    owned = leased(tmp_path)
    owned.acquire()
    owned._closed.set()  # frozen: its thread renews no more
    held_elsewhere(tmp_path, renewed=time.time(), number=2)
    later(monkeypatch, 0.15)
    with pytest.raises(exits.LostPeer, match="belongs to process 1 on far"):
        owned.check()
    owned._place.renew(owned._record)  # it was frozen between looking and writing
    owned.release()
    assert newest(tmp_path)["owner"] == "x"
    with pytest.raises(exits.LostPeer, match="on far works on this run"):
        leased(tmp_path).acquire()


def test_renewal_goes_on_and_a_check_looks_only_in_doubt(tmp_path, monkeypatch):
    owned = leased(tmp_path)
    owned.acquire()
    before = newest(tmp_path)["renewals"]
    wait_until(lambda: newest(tmp_path)["renewals"] >= before + 2)
    monkeypatch.setattr(lease, "_clock", lambda: owned._renewed_at)  # renewed just now
    place = lease_place.InDirectory
    monkeypatch.setattr(place, "look", lambda self: pytest.fail("looked without need"))
    owned.check()
    monkeypatch.undo()
    owned.release()


def test_junk_is_no_lease(tmp_path):
    (tmp_path / lease_place.BEFORE_NUMBERS).write_text("{junk")
    owned = leased(tmp_path)
    assert owned.acquire() == ""
    owned.release()


class Objects:
    """A bucket's small objects, as storage.Bucket has them; `creates_once` as GCS and S3 do."""

    url = "gs://bucket/run"
    local = "."

    def __init__(self, creates_once: bool):
        self.files, self._creates_once = {}, creates_once

    def numbers(self, folder):
        return sorted(int(name.split("/")[1].split(".")[0]) for name in self.files)

    def read(self, name):
        return self.files.get(name)

    def write(self, name, data, *, create):
        if create and self._creates_once and name in self.files:
            raise FileExistsError(name)
        self.files[name] = data

    def remove(self, name):
        del self.files[name]


@pytest.fixture(params=[True, False], ids=["created once", "last writer wins"])
def objects(request) -> Objects:
    return Objects(request.param)


def owner_of(objects: Objects) -> str:
    return json.loads(objects.files[max(objects.files)])["owner"]


def in_bucket(objects: Objects) -> lease.Lease:
    return lease.Lease(lease_place.InBucket(objects))


def test_a_bucket_s_lease_is_refused_renewed_and_released(objects):
    first = in_bucket(objects)
    assert first.acquire() == ""
    with pytest.raises(exits.LostPeer, match=f"gs://bucket/run/lease: process {os.getpid()} on "):
        in_bucket(objects).acquire()
    before = json.loads(objects.files["lease/000001.json"])["renewals"]
    wait_until(lambda: json.loads(objects.files["lease/000001.json"])["renewals"] >= before + 2)
    first.release()
    second = in_bucket(objects)
    assert second.acquire() == ""
    assert sorted(objects.files) == ["lease/000002.json"]
    second.release()


def test_of_two_that_claim_at_once_one_owns_the_bucket_s_run(objects, monkeypatch):
    places = [lease_place.InBucket(objects) for _ in range(2)]
    leases = [lease.Lease(place) for place in places]
    seen = [place.look() for place in places]  # both found it free
    late = leases[1]._renewed()
    monkeypatch.setattr(
        lease_place.time, "sleep", lambda _: places[1]._create(1, json.dumps(late).encode())
    )
    places[1]._owner = late["owner"]
    won = places[0].claim(seen[0], leases[0]._renewed())
    monkeypatch.setattr(lease_place.time, "sleep", lambda _: None)
    assert places[1].claim(seen[1], late) is not won
    assert owner_of(objects) == leases[0 if won else 1]._record["owner"]
    assert len(objects.files) == 1


def test_a_claim_whose_answer_was_lost_is_a_claim(objects):
    """Clients try again, and are told that the object is there: it is their own."""
    plain = objects.write

    def twice(name, data, *, create):
        plain(name, data, create=create)
        plain(name, data, create=create)

    objects.write = twice
    one = in_bucket(objects)
    assert one.acquire() == ""
    one._closed.set()


def test_a_late_renewal_of_a_frozen_holder_changes_nothing(objects, monkeypatch):
    """It was frozen between looking and writing; two owners later it writes."""
    frozen = in_bucket(objects)
    frozen.acquire()
    frozen._closed.set()
    stolen = json.loads(objects.files["lease/000001.json"]) | {"machine": "far", "renewed": 0}
    objects.files["lease/000001.json"] = json.dumps(stolen).encode()
    second = in_bucket(objects)
    assert "took over the run" in second.acquire()
    second.release()
    third = in_bucket(objects)
    third.acquire()
    frozen._place.renew(frozen._renewed())
    assert owner_of(objects) == third._record["owner"]
    third.check()
    later(monkeypatch, 0.15)
    with pytest.raises(exits.LostPeer, match="stops before it writes"):
        frozen.check()
    third.release()


def test_a_bucket_that_does_not_answer_is_an_error_of_the_system(objects, monkeypatch):
    owned = in_bucket(objects)
    owned.acquire()

    def refuse(name):
        raise RuntimeError("503")

    monkeypatch.setattr(objects, "read", refuse)
    with pytest.raises(OSError, match="gs://bucket/run/lease: RuntimeError: 503"):
        owned._place.look()
    owned._closed.set()
    later(monkeypatch, 0.5)  # longer than a lease lasts
    with pytest.raises(exits.LostPeer, match="could not be renewed in time"):
        owned.check()
