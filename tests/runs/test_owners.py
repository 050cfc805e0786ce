"""Of all that start on one run, one owns it, however late any of their writes arrives."""

import builtins
import itertools
import json
import os
import shutil
import tempfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mypt_jax import exits
from mypt_jax.runs import lease, lease_place

PATIENCE_SECS = 60


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECS", 0.2)


def leased(path) -> lease.Lease:
    return lease.Lease(lease_place.InDirectory(str(path)))


def owns(one: lease.Lease) -> bool:
    try:
        one.check()
    except exits.RunEnd:
        return False
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("function", ["os.replace", "os.link", "os.open", "builtins.open"])
@pytest.mark.parametrize("dead", [False, True], ids=["a new run", "a dead owner"])
def test_a_slow_disk_makes_no_second_owner(tmp_path, monkeypatch, function, after, dead):
    """The first start stands still at its first such call; the second one starts meanwhile."""
    if dead:
        before = leased(tmp_path)
        before.acquire()
        before._closed.set()  # it renews no more
        owner = before._record["owner"]
        monkeypatch.setattr(lease.Lease, "_is_dead", lambda _, other: other["owner"] == owner)
    stands, go_on = threading.Event(), threading.Event()
    module, _, name = function.partition(".")
    module = {"os": os, "builtins": builtins}[module]
    plain = getattr(module, name)

    def slow(path, *args, **more):
        of_the_run = str(path).startswith(str(tmp_path))
        if threading.current_thread().name != "first" or stands.is_set() or not of_the_run:
            return plain(path, *args, **more)
        done = plain(path, *args, **more) if after else None
        stands.set()
        assert go_on.wait(PATIENCE_SECS)
        return done if after else plain(path, *args, **more)

    monkeypatch.setattr(module, name, slow)
    leases, got = [leased(tmp_path), leased(tmp_path)], [False, False]

    def start(number: int) -> None:
        try:
            leases[number].acquire()
            got[number] = True
        except exits.LostPeer:
            pass

    first = threading.Thread(target=start, args=(0,), name="first")
    first.start()
    while first.is_alive() and not stands.wait(0.01):
        pass
    start(1)
    go_on.set()
    first.join()
    assert [g and owns(one) for g, one in zip(got, leases, strict=True)].count(True) == 1
    for one in leases:
        one.release()


class Turns:
    """Threads that go on one at a time, in an order that a test draws."""

    def __init__(self, order: list[tuple[int, int]]):
        """(which of those that wait, for how many turns), over and over."""
        self._order = itertools.cycle(order)
        self._batons: dict[str, threading.Semaphore] = {}
        self._handed_back = threading.Semaphore(0)

    def next(self) -> None:
        """Called by a thread before each thing that others may see."""
        baton = self._batons.get(threading.current_thread().name)
        if baton is not None:
            self._handed_back.release()
            baton.acquire()

    def run(self, jobs) -> None:
        def run(job):
            try:
                self.next()
                job()
            finally:
                ended.add(threading.current_thread().name)
                self._handed_back.release()

        ended: set[str] = set()
        threads = {
            f"job {i}": threading.Thread(target=run, args=(job,), name=f"job {i}", daemon=True)
            for i, job in enumerate(jobs)
        }
        self._batons = {name: threading.Semaphore(0) for name in threads}
        for thread in threads.values():
            thread.start()
            assert self._handed_back.acquire(timeout=PATIENCE_SECS)
        for round_, (which, turns) in enumerate(self._order):
            waiting = sorted(set(threads) - ended)
            if not waiting:
                break
            name = waiting[(which + round_ // 50) % len(waiting)]  # none waits for ever
            for _ in range(turns):
                if name not in ended:
                    self._batons[name].release()
                    assert self._handed_back.acquire(timeout=PATIENCE_SECS)


class InTurns(lease_place.InDirectory):
    """A directory in which every access takes its turn; it may be removed and made anew."""

    turns: Turns

    def _numbers(self):
        self.turns.next()
        return super()._numbers()

    def _read(self, number):
        self.turns.next()
        return super()._read(number)

    def _create(self, number, data):
        self.turns.next()
        return super()._create(number, data)

    def _write(self, number, data):
        self.turns.next()
        super()._write(number, data)

    def _remove(self, number):
        self.turns.next()
        super()._remove(number)


@settings(max_examples=100, deadline=None)
@given(
    order=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=20),
    ends=st.lists(st.sampled_from(["release", "die", "fail early"]), min_size=3, max_size=5),
)
def test_in_any_order_of_their_accesses_there_is_one_owner(order, ends):
    """Starts that look, claim, work, then release, die or end before they have written."""
    turns, dead, living, faults = Turns(order), set(), [], []
    directory = tempfile.mkdtemp()

    def job(end: str):
        def start():
            place = InTurns(directory)
            place.turns = turns
            one = lease.Lease(place)
            one._is_dead = lambda other: other["owner"] in dead
            one._renew_forever = lambda: None
            try:
                one.acquire()
            except exits.LostPeer:
                return
            living.append(one)
            if len(living) > 1:
                faults.append([other._record["owner"] for other in living])
            turns.next()
            one.check()
            if end != "fail early":
                with open(f"{directory}/config.json", "w") as file:
                    file.write("{}")
            turns.next()
            one.check()
            living.remove(one)
            if end == "die":
                dead.add(one._record["owner"])
            else:
                one.release()

        return start

    try:
        turns.run([job(end) for end in ends])
        last = leased(directory)
        last._is_dead = lambda other: other["owner"] in dead
        last.acquire()  # whatever has happened, the run is free in the end
        last.release()
    finally:
        shutil.rmtree(directory)
    assert faults == []


class Late(lease_place.InDirectory):
    """A claim that stands still between its look and its write, until `meanwhile` has happened."""

    meanwhile = staticmethod(lambda: None)

    def _create(self, number, data):
        now, self.meanwhile = self.meanwhile, lambda: None
        now()
        return super()._create(number, data)


@pytest.mark.parametrize("history", ["two owners since", "the run begun anew"])
def test_a_claim_that_arrives_when_its_number_is_free_again(tmp_path, monkeypatch, history):
    dead, owners = set(), []
    monkeypatch.setattr(lease.Lease, "_is_dead", lambda _, other: other["owner"] in dead)

    def own() -> lease.Lease:
        one = leased(tmp_path)
        one.acquire()
        (tmp_path / "config.json").touch()
        owners.append(one)
        return one

    def die(one: lease.Lease) -> None:
        one._closed.set()
        dead.add(one._record["owner"])

    def meanwhile():
        if history == "two owners since":
            die(own())  # the number that the late one wants
            own()
        else:
            shutil.rmtree(tmp_path / "lease")
            own()

    die(own())
    late = Late(str(tmp_path))
    late.meanwhile = meanwhile
    late = lease.Lease(late)
    with pytest.raises(exits.LostPeer, match="works on this run"):
        late.acquire()
    owners[-1].check()
    owners[-1].release()


def test_a_record_that_is_being_written_is_waited_for(tmp_path):
    """Between making a file and filling it there is a moment, as long as the disk takes."""
    (tmp_path / "lease").mkdir()
    path = tmp_path / "lease" / "000007.json"
    path.touch()
    first = leased(tmp_path)
    record = json.dumps({**first._record, "renewed": lease.time.time()})
    looks = lease_place.InDirectory.look

    class Filled(lease_place.InDirectory):
        def look(self):
            seen = looks(self)
            path.write_text(record)
            return seen

    with pytest.raises(exits.LostPeer, match=f"process {os.getpid()} on "):
        lease.Lease(Filled(str(tmp_path))).acquire()
    path.write_text("")  # its maker is gone
    assert first.acquire() == ""
    assert [p.name for p in path.parent.iterdir()] == ["000008.json"]
    first.release()


def test_a_full_disk_leaves_no_empty_record(tmp_path, monkeypatch):
    plain = builtins.open

    def full(file, *args, **more):
        of_record = isinstance(file, int)
        return plain("/dev/full", "wb", buffering=0) if of_record else plain(file, *args, **more)

    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(OSError, match="No space left"):
        leased(tmp_path).acquire()
    monkeypatch.undo()
    assert list((tmp_path / "lease").iterdir()) == []


def test_a_full_disk_does_not_cost_a_run_its_owner(tmp_path, monkeypatch):
    one = leased(tmp_path)
    one.acquire()
    before = one._place.look().record["renewals"]
    plain = builtins.open

    def full(file, mode="r", *args, **more):
        return plain("/dev/full" if mode == "wb" else file, mode, *args, **more)

    monkeypatch.setattr(builtins, "open", full)
    with one._lock:
        one._renew()
    seen = one._place.look()
    assert one._place.is_own(seen) and seen.record["renewals"] > before
    monkeypatch.undo()
    one.check()
    one.release()


def test_the_owner_of_an_older_version_is_respected_and_followed(tmp_path):
    """Its lease was one file, lease.json; it stops when that is gone."""
    one = leased(tmp_path)
    old = {**one._record, "owner": "old", "renewed": lease.time.time()}
    (tmp_path / "lease.json").write_text(json.dumps(old))
    with pytest.raises(exits.LostPeer, match="works on this run"):
        one.acquire()
    (tmp_path / "lease.json").write_text(json.dumps({**old, "born": 1}))
    assert "took over the run" in one.acquire()
    assert not (tmp_path / "lease.json").exists()
    one.release()


@pytest.mark.parametrize("how", ["renamed", "removed", "renamed and made anew"])
def test_a_workdir_that_goes_away_is_said_before_the_next_write(tmp_path, how):
    workdir = tmp_path / "run"
    workdir.mkdir()
    one = leased(workdir)
    one.acquire()
    (workdir / "config.json").touch()
    one.check()
    assert not one.is_lost
    workdir.rename(tmp_path / "elsewhere")
    if how == "removed":
        shutil.rmtree(tmp_path / "elsewhere")
    if how == "renamed and made anew":
        workdir.mkdir()
        other = leased(workdir)
        other.acquire()
        with pytest.raises(exits.LostPeer, match="belongs to process"):
            one.check()
        one.release()
        other.check()
        other.release()
        return
    assert one.is_lost
    with pytest.raises(exits.StorageFailure, match="run is gone: it was renamed or removed"):
        one.check()
    one.release()
    assert not workdir.exists()
