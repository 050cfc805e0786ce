"""Several trainers of one run on this machine, as real processes."""

import os
import socket
import subprocess

from conftest import ROOT, command


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start_processes(
    stage: str,
    overrides: list[dict],
    timeout_secs: float,
    *,
    directories: list | None = None,
    environment: dict | None = None,
) -> list:
    """One process per entry of overrides, all of one run; each in its own directory if given."""
    port, count = free_port(), len(overrides)
    processes = []
    for index, own in enumerate(overrides):
        joined = own | {
            "distributed.coordinator": f"localhost:{port}",
            "distributed.num_processes": own.get("distributed.num_processes", count),
            "distributed.process_id": index,
            "distributed.timeout_secs": timeout_secs,
        }
        processes.append(
            subprocess.Popen(
                command(stage, joined),
                cwd=directories[index] if directories else ROOT,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONPATH": str(ROOT),
                    **(environment or {}),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def ends(processes: list, timeout: float = 300) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each; a process that hangs fails the test."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]
