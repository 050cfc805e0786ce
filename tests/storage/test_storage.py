"""gs:// and s3:// against emulators on loopback; the mirror's rules without any."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from bucket_emulator import emulator, upload
from conftest import ROOT, command
from fsspec.implementations.memory import MemoryFileSystem
from run_factory import write_run

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax import exits
from mypt_jax.runs import evaluations, integrity, layout
from mypt_jax.storage import bucket as buckets
from mypt_jax.storage import fetch, mirror
from mypt_jax.storage.copies import Object


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("gs://bucket/runs/v8", "remote/gs/bucket/runs/v8"),
        ("s3://bucket/runs/v8/", "remote/s3/bucket/runs/v8"),
        ("runs/750m/v8", "runs/750m/v8"),
        ("/abs/v8", "/abs/v8"),
    ],
)
def test_a_url_has_one_mirror(path, local):
    assert buckets.local_path(path) == local
    assert buckets.url_of(local) == (path.rstrip("/") if "://" in path else "")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UserError, match="hdfs:// is not known, wanted gs:// or s3://"):
        buckets.local_path("hdfs://x/y")


class Recorder(buckets.Bucket):
    """A bucket in memory that remembers the order of what happens to it."""

    def __init__(self):
        self.url = "gs://recorder"
        self.local = buckets.local_path(self.url)
        self.files: dict[str, bytes] = {}
        self.log: list[str] = []

    def objects(self):
        return {name: Object(len(data), "") for name, data in self.files.items()}

    def read(self, name):
        return self.files.get(name)

    def get(self, name, target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(self.files[name])

    def put(self, source, name):
        with open(source, "rb") as file:
            self.files[name] = file.read()
        self.log.append(f"+{name}")

    def put_all(self, sources, before):
        for name, source in sources.items():
            before()
            self.put(source, name)

    def remove(self, name):
        del self.files[name]
        self.log.append(f"-{name}")


def link_to(workdir, bucket) -> mirror.Mirror:
    link = mirror.Mirror(str(workdir))
    link.bucket = bucket
    link.take_over()
    return link


def write_step(workdir, step: int, *, committed: bool = True) -> None:
    directory = workdir / layout.CHECKPOINTS / f"{step:08d}"
    (directory / "params").mkdir(parents=True)
    (directory / "params" / "data").write_text("weights")
    if committed:
        integrity.write_manifest(str(directory))


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_manifest_is_pushed_after_its_files_and_rows_and_finished_after_all(workdir):
    write_step(workdir, 6)
    write_step(workdir, 9, committed=False)
    for name in (layout.CONFIG, layout.FINISHED, layout.METRICS, "lease.json", "lease.json.0a1b"):
        (workdir / name).write_text("{}")
    bucket = Recorder()
    link_to(workdir, bucket).push(lambda: None)
    step = "+checkpoints/00000006"
    assert bucket.log == [
        "+mirror.json",
        f"{step}/params/data",
        "+config.json",
        "+metrics.jsonl",
        f"{step}/manifest.json",
        "+finished.json",
    ]


def test_a_second_push_takes_changes_only_and_removes_old_steps_manifest_first(workdir):
    write_step(workdir, 6)
    (workdir / layout.METRICS).write_text("1\n")
    bucket = Recorder()
    link = link_to(workdir, bucket)
    link.push(lambda: None)
    bucket.log.clear()
    shutil.rmtree(workdir / layout.CHECKPOINTS / "00000006")
    write_step(workdir, 12)
    (workdir / layout.METRICS).write_text("1\n2\n")
    link.push(lambda: None)
    old, new = "checkpoints/00000006", "checkpoints/00000012"
    assert bucket.log == [
        f"+{new}/params/data",
        "+metrics.jsonl",
        f"+{new}/manifest.json",
        f"-{old}/manifest.json",
        f"-{old}/params/data",
    ]


def test_a_process_that_starts_again_pushes_only_what_the_bucket_lacks(workdir):
    write_step(workdir, 6)
    bucket = Recorder()
    link_to(workdir, bucket).push(lambda: None)
    write_step(workdir, 12)  # saved, but the push did not come to it
    bucket.log.clear()
    link_to(workdir, bucket).push(lambda: None)
    new = "+checkpoints/00000012"
    assert bucket.log == [f"{new}/params/data", f"{new}/manifest.json"]


def test_a_report_fetches_records_only_and_leaves_what_this_machine_writes(tmp_path, monkeypatch):
    for stage, owner in (("base", "here"), ("v3", "elsewhere")):
        directory = tmp_path / "bucket" / stage
        write_step(directory, 6)
        (directory / layout.EVALUATIONS).mkdir()
        (directory / layout.EVALUATIONS / "step_00000006.npz").write_bytes(b"npz")
        for name in (layout.CONFIG, layout.METRICS):
            (directory / name).write_text("old")
        (directory / mirror.MARKER).write_text(json.dumps({"owner": owner}))
    monkeypatch.chdir(tmp_path)
    shelf = Recorder()
    for path in (tmp_path / "bucket").rglob("*.*"):
        shelf.files[str(path.relative_to(tmp_path / "bucket"))] = path.read_bytes()
    monkeypatch.setattr(fetch, "Bucket", lambda url: shelf)
    local = tmp_path / buckets.local_path(shelf.url)
    (local / "base").mkdir(parents=True)
    (local / "base" / mirror.MARKER).write_text(json.dumps({"owner": "here"}))
    (local / "base" / layout.METRICS).write_text("newer")
    assert str(tmp_path / fetch.fetch_records(shelf.url)) == str(local)
    assert (local / "base" / layout.METRICS).read_text() == "newer"
    found = sorted(str(p.relative_to(local / "v3")) for p in (local / "v3").rglob("*.*"))
    assert found == ["config.json", "eval/step_00000006.npz", "metrics.jsonl"]


def test_a_step_that_arrives_in_part_gets_no_manifest(workdir, monkeypatch):
    bucket = Recorder()
    link = link_to(workdir, bucket)
    write_step(workdir, 6)
    whole = Recorder.objects

    def cut(self):
        return {name: Object(one.size - 1, "") for name, one in whole(self).items()}

    monkeypatch.setattr(Recorder, "objects", cut)
    with pytest.raises(exits.StorageFailure, match="params/data arrived with 6 of 7 bytes"):
        link.push(lambda: None)
    assert not [name for name in bucket.files if name.endswith("manifest.json")]


def test_a_mirror_that_was_replaced_stops_before_it_pushes(workdir):
    bucket = Recorder()
    link = link_to(workdir, bucket)
    bucket.files[mirror.MARKER] = b'{"owner": "another"}'
    before = dict(bucket.files)
    write_step(workdir, 6)
    with pytest.raises(exits.LostPeer, match="belongs to another machine now"):
        link.push(lambda: None)
    assert bucket.files == before


class Store(MemoryFileSystem):
    """Buckets in memory, which tell versions as the real ones do."""

    def find(self, path, *, detail=False, **options):
        found = super().find(path, detail=True, **options)
        named = {name.removeprefix("/"): one for name, one in found.items()}
        told = {name: one | {"generation": str(one["created"])} for name, one in named.items()}
        return told if detail else sorted(told)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """upload(directory, url) into gs:// buckets in memory; mirrors are in tmp_path."""
    files = Store(skip_instance_cache=True)
    monkeypatch.setattr(Store, "store", {})
    monkeypatch.setattr(fsspec, "filesystem", lambda scheme, **options: files)
    monkeypatch.chdir(tmp_path)

    def put(directory, url: str) -> None:
        for path in Path(directory).rglob("*"):
            if path.is_file():
                place = f"{url.partition('://')[2]}/{path.relative_to(directory)}"
                files.pipe_file(place, path.read_bytes())

    return put


def test_an_object_of_the_same_size_is_fetched_where_it_is_another_one(store, datasets, tmp_path):
    store(datasets["general"], "gs://data/general")
    config = config_with(data__general=("gs://data/general",))
    local = tmp_path / fetch.localise(config)["data"]["general"][0]
    copies = {path: path.stat() for path in local.rglob("*") if path.is_file()}
    fetch.localise(config)
    assert {path: path.stat() for path in copies} == copies
    shard, other = sorted(local.glob("encyclopedia/train/*.bin"))[:2]
    content = shard.read_bytes()
    shard.write_bytes(content[::-1])  # here
    fetch.localise(config)
    assert shard.read_bytes() == content and other.stat() == copies[other]
    changed = tmp_path / "changed" / shard.relative_to(local)
    changed.parent.mkdir(parents=True)
    changed.write_bytes(content[::-1])
    store(tmp_path / "changed", "gs://data/general")  # there
    with pytest.raises(UserError, match="as fetched is damaged: .*shard_00000.bin was changed"):
        fetch.localise(config)


def test_evaluations_of_older_ancestors_come_with_what_vouches_for_them(store):
    """A child of v3 compares itself with base, of which it reads nothing else."""
    mirrors = Path("remote/gs/runs")
    write_run(mirrors, "base", parent=None, start=(9.0, 9.0), final=(5.0, 2.2))
    write_run(mirrors, "v3", parent="base", start=(5.0, 2.2), final=(4.0, 2.3))
    store(mirrors, "gs://runs")
    shutil.rmtree("remote")
    fetch.fetch_run("gs://runs/v3")
    (ancestor,) = layout.record(str(mirrors / "v3"))["ancestors"]
    kept = Path(layout.eval_file(ancestor["path"], ancestor["step"]))
    assert evaluations.read(str(kept)).mean("general") == pytest.approx(2.2)
    assert integrity.names(str(kept.parent), kept.name)


def test_a_run_in_a_bucket_may_have_an_at_of_its_own(store, tmp_path):
    write_run(tmp_path / "runs", "r@home", parent=None, start=(9.0, 9.0), final=(5.0, 2.2))
    store(tmp_path / "runs", "gs://runs")
    local = config_with(init_from="gs://runs/r@home")
    assert fetch.localise(local)["init_from"] == "remote/gs/runs/r@home"
    assert fetch.local_names(local)["init_from"] == "remote/gs/runs/r@home"
    assert layout.parse_spec("remote/gs/runs/r@home") == ("remote/gs/runs/r@home", "")
    with pytest.raises(UserError, match="there is no run at gs://runs/r@hom"):
        fetch.localise(config_with(init_from="gs://runs/r@hom"))


@pytest.fixture(params=["gs", "s3"])
def bucket(request, monkeypatch):
    """URL of an empty bucket of an emulator on loopback, with the environment set to find it."""
    for module in ("fsspec", "gcsfs", "s3fs", "moto", "gcp_storage_emulator"):
        pytest.importorskip(module)
    with emulator(request.param) as (url, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield url


def config_with(**changes) -> dict:
    config = {
        "data": {"domain": (), "general": (), "elsewhere": (), "mixture": ""},
        "eval": {"extra": ()},
        "init_from": "scratch",
        "workdir": "runs/x",
        "distributed": {"num_processes": 0},
    }
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config[group] = config[group] | {name: value} if name else value
    return config


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of the clients and emulators
@pytest.mark.parametrize("content", [b"", b"a\r", b"a\n", b"\r\n\r\n", bytes(range(256))])
def test_a_bucket_keeps_every_byte(bucket, tmp_path, content):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    files = buckets.Bucket(f"{bucket}/any")
    files.put(str(source), "file")
    files.get("file", str(target))
    assert target.read_bytes() == content


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of the clients and emulators
def test_a_dataset_is_fetched_once_and_verified(bucket, datasets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = buckets.Bucket(f"{bucket}/general")
    for root, _, names in os.walk(datasets["general"]):
        for name in names:
            path = os.path.join(root, name)
            files.put(path, os.path.relpath(path, datasets["general"]))
    config = config_with(
        data__general=(f"{bucket}/general#encyclopedia",), eval__extra=(f"domain={bucket}/general",)
    )
    local = buckets.local_path(f"{bucket}/general")
    found = fetch.localise(config)
    assert found["data"]["general"] == (f"{local}#encyclopedia",)
    assert found["eval"]["extra"] == (f"domain={local}",)
    assert shards.open_dataset(local).sources.keys() == {"encyclopedia"}
    shard, *_ = sorted((tmp_path / local / "encyclopedia" / "train").glob("*.bin"))
    before = shard.stat().st_mtime_ns
    fetch.localise(config)
    assert shard.stat().st_mtime_ns == before
    # A file that changed on the way is found by its hash, and fetched again the next time.
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    name = os.path.relpath(shard, local)
    files.put(str(tmp_path / "damaged"), name)
    shard.unlink()
    with pytest.raises(UserError, match="as fetched is damaged"):
        fetch.localise(config)
    assert not os.path.exists(local)
    with pytest.raises(UserError, match="there is no dataset"):
        fetch.localise(config_with(data__domain=(f"{bucket}/nothing",)))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_a_workdir_goes_from_machine_to_machine(bucket, tmp_path, monkeypatch):
    url = f"{bucket}/runs/base"
    local = buckets.local_path(url)

    def machine(name: str):
        """Process 0 of a start on this machine: (its workdir, its link)."""
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        fetch.localise(config_with(workdir=url))
        link = mirror.Mirror(local)
        link.take_over()
        return tmp_path / name / local, link

    one, first = machine("one")
    write_step(one, 6)
    (one / layout.METRICS).write_text("1\n")
    first.push(lambda: None)
    write_step(one, 12)  # saved, and lost with the machine before it was pushed
    two, second = machine("two")
    assert layout.steps(str(two)) == [6] and (two / layout.METRICS).read_text() == "1\n"
    write_step(two, 9)
    (two / layout.METRICS).write_text("1\n2\n")
    second.push(lambda: None)
    # The first machine wakes up: it is the owner no more, and may not write.
    monkeypatch.chdir(tmp_path / "one")
    with pytest.raises(exits.LostPeer, match="another machine"):
        first.push(lambda: None)
    # It starts again: what the other one did since is what counts.
    assert layout.steps(str(machine("one")[0])) == [6, 9]
    # Nobody else pushed since: what is here is newer.
    write_step(one, 15)
    assert layout.steps(str(machine("one")[0])) == [6, 9, 15]


def test_a_step_that_lost_its_optimizer_is_fetched_again(workdir, tmp_path):
    """What a process that does not write has of it would go on from other moments than the rest."""
    write_step(workdir, 6)
    bucket = Recorder()
    link_to(workdir, bucket).push(lambda: None)
    reader = tmp_path / "reader"
    old = reader / layout.CHECKPOINTS / "00000006" / "rest"
    shutil.copytree(workdir, reader)
    old.mkdir()
    (old / "moments").write_text("old")
    integrity.write_manifest(str(old.parent))
    link_to(reader, bucket).fetch_step(6)
    assert not old.exists() and not integrity.fault(str(old.parent))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_a_process_that_does_not_write_fetches_one_step(bucket, tmp_path, monkeypatch):
    url = f"{bucket}/runs/base"
    local = buckets.local_path(url)
    for name in ("writer", "reader"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "writer")
    fetch.localise(config_with(workdir=url))
    link = mirror.Mirror(local)
    link.take_over()
    for step in (3, 6):
        write_step(tmp_path / "writer" / local, step)
    link.push(lambda: None)
    monkeypatch.chdir(tmp_path / "reader")
    fetch.localise(config_with(workdir=url))
    reader = mirror.Mirror(local)
    reader.fetch_step(6)
    assert layout.steps(local) == [6] and not integrity.fault(layout.step_dir(local, 6))
    # Damaged in its mirror: fetched again. Damaged in the bucket: refused.
    data = os.path.join(layout.step_dir(local, 6), "params", "data")
    with open(data, "w") as file:
        file.write("WEIGHTS")
    reader.fetch_step(6)
    assert not integrity.fault(layout.step_dir(local, 6))
    with open(data, "w") as file:
        file.write("WEIGHTS")
    buckets.Bucket(url).put(data, os.path.relpath(data, local))
    with pytest.raises(exits.NoValidState, match="step 6 as fetched is invalid: .*SHA-256"):
        reader.fetch_step(6)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_chain_lives_in_a_bucket_and_goes_on_on_another_machine(kind, small, datasets, tmp_path):
    """base on one machine up to step 6, its end on a second one, then v3 on a third."""
    for module in ("fsspec", "gcsfs" if kind == "gs" else "s3fs", "moto"):
        pytest.importorskip(module)
    with emulator(kind) as (url, environment):
        upload(datasets["general"], f"{url}/general", environment)
        small |= {"data.general": f"{url}/general", "checkpoint.keep_optimizer": True}

        def machine(name: str, stage: str, overrides: dict) -> subprocess.CompletedProcess:
            """A machine is a directory of its own to run in: nothing local is left over."""
            (tmp_path / name).mkdir()
            argv = command(str(ROOT / "configs" / f"{stage}.py:tiny"), overrides)
            done = subprocess.run(
                argv,
                cwd=tmp_path / name,
                env={**os.environ, **environment, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            return done

        base = small | {"workdir": f"{url}/runs/base"}
        machine("one", "base", base | {"num_steps": 6})
        second = machine("two", "base", base)
        assert "resumed" in second.stdout and "at step 6" in second.stdout
        metrics = layout.metrics(
            str(tmp_path / "two" / "remote" / kind / "bucket" / "runs" / "base")
        )
        assert [row["step"] for row in metrics] == [0, 2, 4, 6, 8, 10, 12]
        v3 = small | {"workdir": f"{url}/runs/v3", "init_from": f"{url}/runs/base"}
        third = machine("three", "v3", v3)
        assert "step 0 equals the parent's end" in third.stdout
        local = tmp_path / "three" / "remote" / kind / "bucket" / "runs" / "v3"
        assert json.loads((local / layout.FINISHED).read_text())["step"] == 12

        (tmp_path / "four").mkdir()
        for module, *flags in (
            ("report", f"{url}/runs"),
            ("generate", f"--run={url}/runs/v3", "--max_new_tokens=4"),
            ("evaluate", f"--run={url}/runs/v3@12", f"--data={datasets['domain']}"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", f"mypt_jax.{module}", *flags],
                cwd=tmp_path / "four",
                env={**os.environ, **environment, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{module}: {done.stderr[-3000:]}"
        assert (
            "| v3 | base |"
            in (tmp_path / "four/remote" / kind / "bucket/runs/report.md").read_text()
        )
