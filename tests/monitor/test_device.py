"""What says that two machines round alike."""

import builtins
import io
import types

import jax

from mypt_jax.monitor import device

CPUINFO = (
    "processor : 0\nmodel name : Ex Z\nflags : sse avx2{}\n\nprocessor : 1\nmodel name : Ex Z\n"
)


def test_another_instruction_set_is_another_processor(monkeypatch):
    """XLA compiles for the instructions that are there, and sums in another order."""
    cpu = jax.devices("cpu")[0]
    found = []
    for more in ("", " avx512f", ""):
        text = CPUINFO.format(more)
        monkeypatch.setattr(builtins, "open", lambda *_, text=text, **__: io.StringIO(text))
        found.append(device.fingerprint(cpu))
    assert found[0] == found[2] != found[1]
    assert found[0].startswith("Ex Z, instructions ")


def test_cores_are_those_that_may_be_used(monkeypatch):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.delenv("NPROC", raising=False)
    assert device.cores(jax.devices("cpu")[0]) == 3
    monkeypatch.setenv("NPROC", "2")
    assert device.cores(jax.devices("cpu")[0]) == 2
    assert device.cores(types.SimpleNamespace(platform="gpu")) == 0


def test_a_driver_is_part_of_a_gpu():
    client = types.SimpleNamespace(platform_version="cuda 13010")
    gpu = types.SimpleNamespace(platform="gpu", client=client)
    assert device.fingerprint(gpu) == "cuda 13010"
