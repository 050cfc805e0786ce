"""Emulators of gs:// and s3:// on loopback, as processes of their own."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

from several_processes import free_port

# Read when gcsfs is imported, which importorskip does before fetch.py can.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


@contextlib.contextmanager
def emulator(kind: str):
    """(URL of a new bucket, environment in which it is found)."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    if kind == "gs":
        command = [os.path.join(os.path.dirname(__file__), "gcs_emulator.py"), "start"]
        command += ["--port", str(port), "--in-memory", "--default-bucket", "bucket"]
        environment = {
            "STORAGE_EMULATOR_HOST": address,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    else:
        command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environment = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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
