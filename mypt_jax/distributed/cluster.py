"""Whether this process is one of several, by what the environment and the metadata server say.

JAX finds the others by itself; whether to ask it is decided here, since it waits for them. So are a
process's GPUs, since JAX takes the one whose number is the task's, which a task that sees only its
own does not have: https://github.com/jax-ml/jax/issues/28194.
"""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping

from data_pipeline.errors import UserError

ATTRIBUTES = "computeMetadata/v1/instance/attributes"
TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")
TRIES, TIMEOUT_SECS = 3, 5


def detected(environment: Mapping[str, str]) -> str:
    """What says that there are several processes ("" when nothing does)."""

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else 0

    if number("SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment:
        return "Slurm"
    if number("OMPI_COMM_WORLD_SIZE") > 1:
        return "Open MPI"
    if number("MEGASCALE_NUM_SLICES") > 1:
        return "TPU slices"
    names = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")
    if any("," in environment.get(name, "") for name in names):
        return "TPU pod (GKE)"
    is_alone = environment.get("COLAB_RELEASE_TAG") or environment.get("TPU_SKIP_MDS_QUERY")
    is_tpu_vm = any(os.path.exists(path) for path in TPU_DEVICES) and not is_alone
    if is_tpu_vm and tpu_hosts(environment.get("GCE_METADATA_IP", "metadata.google.internal")) > 1:
        return "TPU pod (GCE)"
    return ""


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """This task's GPUs, as places in CUDA_VISIBLE_DEVICES; None where there is nothing to choose.

    A launcher shows a task its own GPUs, or all of the node, which are then divided evenly. Raises
    UserError where they do not divide.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    found = _task_of_node(environment)
    if not visible or found is None:
        return None
    (task, tasks), count = found, len(visible.split(","))
    asked = re.search(r"(\d+)$", environment.get("SLURM_GPUS_PER_TASK", ""))  # 1, or a100:1
    each = int(asked[1]) if asked else max(1, count // tasks)
    if count <= each or count < tasks:
        return list(range(count))  # it sees no others
    if (task + 1) * each > count or (not asked and count % tasks):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES={visible} does not divide among the {tasks} tasks of this node; "
            "start as many as there are GPUs, or one (srun --ntasks-per-node)"
        )
    return list(range(task * each, (task + 1) * each))


def _task_of_node(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """(number of this task on its node, how many there are), by Slurm or Open MPI."""
    if "OMPI_COMM_WORLD_LOCAL_SIZE" in environment:
        names = ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
        return int(environment[names[0]]), int(environment[names[1]])
    counts = []  # of each node, from the likes of 8(x2),4
    told = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    for part in re.finditer(r"(\d+)(?:\(x(\d+)\))?", told):
        counts += [int(part[1])] * int(part[2] or 1)
    if not counts or "SLURM_LOCALID" not in environment:
        return None
    return int(environment["SLURM_LOCALID"]), counts[int(environment.get("SLURM_NODEID", 0))]


def tpu_hosts(server: str) -> int:
    """Hosts of all TPU slices that this machine works with, by its metadata server; 0 without.

    Slices of one host each are told by `tpu-env` alone, with lines as MEGASCALE_NUM_SLICES: '2'.
    """
    workers = _attribute(server, "worker-network-endpoints")
    if not workers:
        return 0
    slices = re.search(r"^MEGASCALE_NUM_SLICES: *'?(\d+)", _attribute(server, "tpu-env"), re.M)
    return len(workers.split(",")) * (int(slices[1]) if slices else 1)


def _attribute(server: str, name: str) -> str:
    """An attribute of this machine, "" where there is none or nobody to ask."""
    request = urllib.request.Request(
        f"http://{server}/{ATTRIBUTES}/{name}", headers={"Metadata-Flavor": "Google"}
    )
    for _ in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECS) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return ""
        except OSError:  # URLError and timeouts among them
            pass
    return ""
