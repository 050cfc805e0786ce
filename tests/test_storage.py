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

from data_pipeline.errors import UserError
from mypt_jax import integrity, run, storage


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
        environment = {"STORAGE_EMULATOR_HOST": address}
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
