"""gs:// and s3:// against emulators on loopback; the mirror's rules without any."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT, command

from data_pipeline import shards
from data_pipeline.errors import UserError
from mypt_jax import integrity, run, storage

# Read when gcsfs is imported, which importorskip does before storage.py can.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


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
    assert storage.local_path(path) == local
    assert storage.url_of(local) == (path.rstrip("/") if "://" in path else "")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UserError, match="hdfs:// is not known, wanted gs:// or s3://"):
        storage.local_path("hdfs://x/y")


class Recorder:
    """Stands in for a bucket and remembers the order of what happens to it."""

    def __init__(self, names=()):
        self.files, self.log = dict.fromkeys(names, 1), []

    def sizes(self):
        return dict(self.files)

    def put(self, source, name):
        self.files[name] = os.path.getsize(source)
        self.log.append(f"+{name}")

    def remove(self, name):
        del self.files[name]
        self.log.append(f"-{name}")


def mirror_of(workdir, bucket) -> storage.Mirror:
    mirror = storage.Mirror(str(workdir))
    mirror._bucket = bucket
    return mirror


def write_step(workdir, step: int, *, committed: bool = True) -> None:
    directory = workdir / run.CHECKPOINTS / f"{step:08d}"
    (directory / "params").mkdir(parents=True)
    (directory / "params" / "data").write_text("weights")
    if committed:
        integrity.write_manifest(str(directory))


def test_a_manifest_is_pushed_after_its_files_and_finished_after_all(tmp_path):
    write_step(tmp_path, 6)
    write_step(tmp_path, 9, committed=False)
    for name in (run.CONFIG, run.FINISHED, run.METRICS, "lease.json"):
        (tmp_path / name).write_text("{}")
    bucket = Recorder()
    mirror_of(tmp_path, bucket).push()
    step = "+checkpoints/00000006"
    assert bucket.log[:2] == [f"{step}/params/data", f"{step}/manifest.json"]
    assert bucket.log[-2:] == ["+finished.json", "+mirror.json"]
    assert not [line for line in bucket.log if "00000009" in line or "lease" in line]


def test_a_second_push_takes_changes_only_and_removes_old_steps_manifest_first(tmp_path):
    write_step(tmp_path, 6)
    (tmp_path / run.METRICS).write_text("1\n")
    bucket = Recorder()
    mirror = mirror_of(tmp_path, bucket)
    mirror.push()
    bucket.log.clear()
    shutil.rmtree(tmp_path / run.CHECKPOINTS / "00000006")
    write_step(tmp_path, 12)
    (tmp_path / run.METRICS).write_text("1\n2\n")
    mirror.push()
    old, new = "checkpoints/00000006", "checkpoints/00000012"
    assert bucket.log == [
        f"+{new}/params/data",
        f"+{new}/manifest.json",
        "+metrics.jsonl",
        "+mirror.json",
        f"-{old}/manifest.json",
        f"-{old}/params/data",
    ]


class Shelf(Recorder):
    """A bucket whose files can be read: a directory."""

    def __init__(self, directory):
        super().__init__()
        self._directory, self.url = directory, "gs://bucket/runs"
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            self.files[str(path.relative_to(directory))] = path.stat().st_size

    def get(self, name, target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(self._directory / name, target)
        self.log.append(name)


def test_a_report_fetches_records_only_and_leaves_what_this_machine_writes(tmp_path, monkeypatch):
    for stage, owner in (("base", "here"), ("v3", "elsewhere")):
        directory = tmp_path / "bucket" / stage
        write_step(directory, 6)
        (directory / run.EVALUATIONS).mkdir()
        (directory / run.EVALUATIONS / "step_00000006.npz").write_bytes(b"npz")
        for name in (run.CONFIG, run.METRICS):
            (directory / name).write_text("old")
        (directory / storage.MARKER).write_text(json.dumps({"owner": owner}))
    monkeypatch.chdir(tmp_path)
    shelf = Shelf(tmp_path / "bucket")
    monkeypatch.setattr(storage, "Bucket", lambda url: shelf)
    local = tmp_path / storage.local_path(shelf.url)
    (local / "base").mkdir(parents=True)
    (local / "base" / storage.MARKER).write_text(json.dumps({"owner": "here"}))
    (local / "base" / run.METRICS).write_text("newer")
    assert str(tmp_path / storage.fetch_records(shelf.url)) == str(local)
    assert (local / "base" / run.METRICS).read_text() == "newer"
    found = sorted(str(p.relative_to(local / "v3")) for p in (local / "v3").rglob("*.*"))
    assert found == ["config.json", "eval/step_00000006.npz", "metrics.jsonl"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def emulator(kind: str):
    """(URL of a new bucket, environment in which it is found)."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    if kind == "gs":
        module = ["gcp_storage_emulator", "start", "--port", str(port), "--in-memory"]
        module += ["--default-bucket", "bucket"]
        environment = {
            "STORAGE_EMULATOR_HOST": address,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    else:
        module = ["moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environment = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    process = subprocess.Popen(
        [sys.executable, "-m", *module], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        if kind == "s3":
            request = urllib.request.Request(f"{address}/bucket", method="PUT")
            urllib.request.urlopen(request, timeout=30).close()
        yield f"{kind}://bucket", environment
    finally:
        process.kill()
        process.wait()


def upload(directory: str, url: str, environment: dict) -> None:
    code = (
        "import sys, fsspec, os\n"
        "options = {'token': 'anon'} if sys.argv[2].startswith('gs') else {}\n"
        "files = fsspec.filesystem(sys.argv[2].split(':')[0], **options)\n"
        "for root, _, names in os.walk(sys.argv[1]):\n"
        "    for name in names:\n"
        "        path = os.path.join(root, name)\n"
        "        below = os.path.relpath(path, sys.argv[1])\n"
        "        files.put_file(path, sys.argv[2].split('://')[1] + '/' + below)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, directory, url], env=os.environ | environment, check=True
    )


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
        "data": {"domain": (), "general": (), "mixture": ""},
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
def test_a_dataset_is_fetched_once_and_verified(bucket, datasets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = storage.Bucket(f"{bucket}/general")
    for root, _, names in os.walk(datasets["general"]):
        for name in names:
            path = os.path.join(root, name)
            files.put(path, os.path.relpath(path, datasets["general"]))
    config = config_with(
        data__general=(f"{bucket}/general#encyclopedia",), eval__extra=(f"domain={bucket}/general",)
    )
    local = storage.local_path(f"{bucket}/general")
    found = storage.localise(config)
    assert found["data"]["general"] == (f"{local}#encyclopedia",)
    assert found["eval"]["extra"] == (f"domain={local}",)
    assert shards.open_dataset(local).sources.keys() == {"encyclopedia"}
    shard, *_ = sorted((tmp_path / local / "encyclopedia" / "train").glob("*.bin"))
    before = shard.stat().st_mtime_ns
    storage.localise(config)
    assert shard.stat().st_mtime_ns == before
    # A file that changed on the way is found by its hash, and fetched again the next time.
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    name = os.path.relpath(shard, local)
    files.put(str(tmp_path / "damaged"), name)
    shard.unlink()
    with pytest.raises(UserError, match="as fetched is damaged"):
        storage.localise(config)
    assert not os.path.exists(local)
    with pytest.raises(UserError, match="there is no dataset"):
        storage.localise(config_with(data__domain=(f"{bucket}/nothing",)))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_a_workdir_goes_from_machine_to_machine(bucket, tmp_path, monkeypatch):
    url = f"{bucket}/runs/base"
    local = storage.local_path(url)

    def machine(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        storage.localise(config_with(workdir=url))
        return tmp_path / name / local

    one = machine("one")
    write_step(one, 6)
    (one / run.METRICS).write_text("1\n")
    mirror = storage.Mirror(local)
    mirror.push()
    write_step(one, 12)  # saved, and lost with the machine before it was pushed
    two = machine("two")
    assert run.steps(str(two)) == [6] and (two / run.METRICS).read_text() == "1\n"
    write_step(two, 9)
    (two / run.METRICS).write_text("1\n2\n")
    storage.Mirror(local).push()
    # The first machine comes back: what the other one did since is what counts.
    assert run.steps(str(machine("one"))) == [6, 9]
    # Nobody else pushed since: what is here is newer.
    write_step(two, 15)
    assert run.steps(str(machine("two"))) == [6, 9, 15]


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
        metrics = run.metrics(str(tmp_path / "two" / "remote" / kind / "bucket" / "runs" / "base"))
        assert [row["step"] for row in metrics] == [0, 2, 4, 6, 8, 10, 12]
        v3 = small | {"workdir": f"{url}/runs/v3", "init_from": f"{url}/runs/base"}
        third = machine("three", "v3", v3)
        assert "step 0 equals the parent's end" in third.stdout
        local = tmp_path / "three" / "remote" / kind / "bucket" / "runs" / "v3"
        assert json.loads((local / run.FINISHED).read_text())["step"] == 12

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
