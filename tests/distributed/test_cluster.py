"""Which processes belong together: by the environment, by a TPU VM's metadata server."""

import http.server
import threading

import pytest

from data_pipeline.errors import UserError
from mypt_jax.distributed import cluster


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, ""),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, ""),  # inside an allocation, not started by srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, ""),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "0"}, "TPU pod (GKE)"),
        ({"TPU_PROCESS_ADDRESSES": "host-0:8476,host-1:8476"}, "TPU pod (GKE)"),
        ({"MEGASCALE_NUM_SLICES": "2"}, "TPU slices"),
    ],
)
def test_several_processes_are_detected(environment, found):
    assert cluster.detected(environment) == found


def slurm(task: int, tasks: str, visible: str, per_task: str = "", node: int = 0) -> dict:
    found = {
        "SLURM_LOCALID": str(task),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "CUDA_VISIBLE_DEVICES": visible,
    }
    return found | ({"SLURM_GPUS_PER_TASK": per_task} if per_task else {})


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        (slurm(3, "8(x2)", ""), None),
        # One task for each GPU, which sees all of the node, or its own only.
        (slurm(3, "8(x2)", "0,1,2,3,4,5,6,7"), [3]),
        (slurm(3, "8(x2)", "3", "1"), [0]),
        (slurm(3, "8(x2)", "0", "a100:1"), [0]),
        (slurm(3, "8(x2)", "0,1,2,3,4,5,6,7", "1"), [3]),
        (slurm(3, "8(x2)", "3"), [0]),
        # One task for a node has all of its GPUs, where JAX by itself would take the first.
        (slurm(0, "1(x2)", "0,1,2,3"), [0, 1, 2, 3]),
        (slurm(1, "2", "0,1,2,3"), [2, 3]),
        (slurm(1, "2", "0,1", "2"), [0, 1]),
        (slurm(1, "4(x2),2", "4,5,6,7", node=2), [2, 3]),
        (
            {
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
                "CUDA_VISIBLE_DEVICES": "0,1",
            },
            [1],
        ),
    ],
)
def test_every_task_has_its_gpus(environment, devices):
    assert cluster.local_devices(environment) == devices


def test_gpus_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="0,1,2,3 does not divide among the 3 tasks"):
        cluster.local_devices(slurm(0, "3", "0,1,2,3"))
    with pytest.raises(UserError, match="does not divide"):
        cluster.local_devices(slurm(3, "4", "0,1,2,3", "2"))


@pytest.fixture
def metadata():
    """A metadata server on loopback: its address, its attributes, and what it was asked."""
    attributes, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            asked.append(name)
            busy = asked.count(name) <= attributes.get("busy", 0)
            text = attributes.get(name)
            self.send_response(503 if busy else 200 if text else 404)
            self.end_headers()
            if text and not busy and self.headers["Metadata-Flavor"] == "Google":
                self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}", attributes
        server.shutdown()


@pytest.mark.parametrize(
    ("workers", "tpu_env", "hosts"),
    [
        ("10.0.0.1", "ACCELERATOR_TYPE: 'v5litepod-8'", 1),
        ("10.0.0.1,10.0.0.2", "", 2),
        # Each slice has one host and knows of no other, but there are two slices.
        ("10.0.0.1", "ZONE: 'x'\nMEGASCALE_NUM_SLICES: '2'\n", 2),
        ("10.0.0.1,10.0.0.2", "MEGASCALE_NUM_SLICES: '3'", 6),
        ("", "", 0),
    ],
)
def test_hosts_of_all_slices_count(metadata, workers, tpu_env, hosts):
    server, attributes = metadata
    attributes |= {"worker-network-endpoints": workers, "tpu-env": tpu_env}
    assert cluster.tpu_hosts(server) == hosts


def test_a_server_that_is_busy_is_asked_again(metadata):
    """One host that believes itself alone would train a model of its own."""
    server, attributes = metadata
    attributes |= {"worker-network-endpoints": "10.0.0.1,10.0.0.2", "busy": 2}
    assert cluster.tpu_hosts(server) == 2


def test_where_nobody_answers_a_machine_is_alone():
    assert cluster.tpu_hosts("localhost:1") == 0
