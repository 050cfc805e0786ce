"""GPUs that are not here, described to XLA, which then compiles for them on this CPU.

What the compiler asks of a device is in its text proto `GpuTargetConfigProto` (openxla/xla,
stream_executor/device_description.proto). The plugin of jax[cuda12] takes it in place of a device
(openxla/xla#16913, jax-ml/jax#28376). Nothing can be tuned by running it, so that the products are
no guide to speed; memory, kernels and collectives are those of the program.
"""

import collections
import importlib.metadata
import re
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.plan import hlo

CUDNN = "nvidia-cudnn-cu12"
RUNTIME = "nvidia-cuda-runtime-cu12"


class Gpu(NamedTuple):
    """What a compiler has to know of a device; sizes in bytes, `per_core` is a multiprocessor's."""

    name: str  # as the driver tells it
    capability: tuple[int, int]
    cores: int
    lanes_per_core: int  # that compute in fp32
    threads_per_core: int
    shared_per_core: int
    l2_bytes: int
    clock_ghz: float
    bytes_per_sec: int
    memory_bytes: int


MIB = 2**20
# NVIDIA's data sheets and the tables of compute capabilities in the CUDA programming guide.
GPUS = {
    "h100": Gpu(
        "NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 2048, 228 * 1024, 50 * MIB, 1.98,
        3_352_320_000_000, 84_942_979_072,
    ),
    "a100": Gpu(
        "NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 2048, 164 * 1024, 40 * MIB, 1.41,
        2_039_040_000_000, 85_100_068_864,
    ),
    "b200": Gpu(
        "NVIDIA B200", (10, 0), 148, 128, 2048, 228 * 1024, 126 * MIB, 1.965,
        7_672_320_000_000, 191_514_411_008,
    ),
    "l4": Gpu(
        "NVIDIA L4", (8, 9), 58, 128, 1536, 100 * 1024, 48 * MIB, 2.04,
        300_096_000_000, 24 * 10**9,
    ),
    "rtx4090": Gpu(
        "NVIDIA GeForce RTX 4090", (8, 9), 128, 128, 1536, 100 * 1024, 72 * MIB, 2.52,
        1_008_096_000_000, 24 * 10**9,
    ),
    "t4": Gpu(
        "Tesla T4", (7, 5), 40, 64, 1024, 64 * 1024, 4 * MIB, 1.59,
        320_064_000_000, 16 * 10**9,
    ),
}  # fmt: skip


def target_config(gpu: Gpu) -> str:
    """The device as a text proto, with the libraries that are installed here."""
    major, minor = gpu.capability
    kept = 0 if gpu.capability == (7, 5) else 1024  # of a core's shared memory, by the system
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {gpu.shared_per_core}
  shared_memory_per_block_optin: {gpu.shared_per_core - kept}
  threads_per_core_limit: {gpu.threads_per_core} core_count: {gpu.cores}
  fpus_per_core: {gpu.lanes_per_core}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: {gpu.bytes_per_sec} l2_cache_size: {gpu.l2_bytes}
  clock_rate_ghz: {gpu.clock_ghz} device_memory_size: {gpu.memory_bytes}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ {_version(CUDNN)} }}
runtime_version {{ {_version(RUNTIME)} }}
device_description_str: "{gpu.name}"
"""


def _version(package: str) -> str:
    parts = importlib.metadata.version(package).split(".")
    names = ("major", "minor", "patch")
    return " ".join(f"{name}: {n}" for name, n in zip(names, parts[:3], strict=True))


def devices(name: str, count: int) -> list:
    """`count` devices of a kind in one host. Raises UserError where the plugin will not do it."""
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(
            platform="cuda", topology=f"1x1x{count}", target_config=target_config(GPUS[name])
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the CUDA plugin cannot describe {name}x{count} here "
            f"({' '.join(str(error).split())[:160]})"
        ) from error
    return list(topology.devices)


def kernels(text: str) -> dict[str, int]:
    """{library call: executions} in a compiled program: attention, products, collectives aside."""
    found: collections.Counter[str] = collections.Counter()
    for entry in hlo.Program(text).executed():
        called = re.search(r'custom_call_target="([^"]+)"', entry.instruction.attributes)
        if called:
            found[called[1]] += entry.times
    return dict(sorted(found.items()))
