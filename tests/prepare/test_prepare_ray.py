"""prepare --runner=ray: the bytes of one process, on two nodes (requirements-ray.txt; --all)."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest
from conftest import ROOT, documents

from data_pipeline import errors
from data_pipeline.corpus import ray_runner
from data_pipeline.prepare import tokenise
from data_pipeline.tokens import tokenizer

# In a process of its own: Ray's threads and sockets outlive any test.
DRIVER = """
import json, os, sys
import ray
from ray.cluster_utils import Cluster
from data_pipeline import errors
from data_pipeline.commands import prepare
from data_pipeline.prepare import tokenise

tokenise._CLUSTER_CHARS = 20_000
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
os.environ["RAY_ADDRESS"] = cluster.address
code = errors.run(lambda: prepare.main(sys.argv[1:]))
print(json.dumps({"code": code, "nodes": sum(node["Alive"] for node in ray.nodes())}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.full
def test_two_nodes_give_the_bytes_of_one_process(tmp_path):
    pytest.importorskip("ray")
    with open(tmp_path / "texts.jsonl", "w") as file:
        for item in documents("s", 300, 0):
            file.write(json.dumps({"text": item.text}) + "\n")
    local = [sys.executable, "-m", "mypt_jax", "prepare"]
    for name, program, flags in (
        ("ray", [sys.executable, "-c", DRIVER], ["--runner=ray"]),
        ("local", local, ["--workers=1"]),
    ):
        source = ["--source", f"s:{tmp_path}/texts.jsonl", "--out_dir", str(tmp_path / name)]
        done = subprocess.run(
            [*program, *source, "--tokenizer=gpt2-4096", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        if name == "ray":
            assert json.loads(done.stdout.splitlines()[-1]) == {"code": 0, "nodes": 2}
    ray, one = (
        {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("ray", "local")
    )
    assert ray == one and len(one) > 4


@pytest.fixture
def cluster(monkeypatch):
    """A Ray whose tasks are done when they are asked for; `waiting` is the most that did."""
    found = types.SimpleNamespace(waiting=0, most=0)

    def remote(function):
        def call(item, common):
            found.waiting += 1
            found.most = max(found.most, found.waiting)
            return lambda: function(item, common)

        return types.SimpleNamespace(remote=call)

    def get(task):
        found.waiting -= 1
        return task()

    ray = types.SimpleNamespace(
        remote=remote,
        put=lambda value: value,
        get=get,
        cluster_resources=lambda: {"CPU": 2.0},
        exceptions=types.SimpleNamespace(RayError=OSError, RayTaskError=ConnectionRefusedError),
    )
    monkeypatch.setattr(ray_runner, "_connected", lambda: ray)
    monkeypatch.setattr(tokenise, "_CLUSTER_CHARS", 5_000)
    return found


def _texts():
    for item in documents("s", 200, 0):
        yield tokenise.Text("s", item.text, "", item.id)


def test_a_cluster_gives_the_same_in_order_and_a_few_batches_wait(cluster):
    vocabulary = tokenizer.get("gpt2-4096")
    alone = list(tokenise.encode_all(_texts(), vocabulary=vocabulary, workers=1))
    there = list(tokenise.encode_all(_texts(), vocabulary=vocabulary, workers=1, runner="ray"))
    assert len(there) > 10 and cluster.most == 5
    for name in ("table", "tokens"):
        ours, theirs = (np.concatenate([getattr(one, name) for one in of]) for of in (alone, there))
        assert np.array_equal(ours, theirs)


def test_what_a_node_refuses_is_said_here(cluster, monkeypatch):
    def bad():
        yield from _texts()
        yield tokenise.Text("s", "good \ud800", "", "file.txt, line 7")

    vocabulary = tokenizer.get("gpt2-4096")
    with pytest.raises(errors.UserError, match="file.txt, line 7: a lone surrogate"):
        list(tokenise.encode_all(bad(), vocabulary=vocabulary, workers=1, runner="ray"))

    def lost(batch, wanted):
        raise ConnectionError("a node died\nout of memory")

    monkeypatch.setattr(tokenise, "_encode_there", lost)
    with pytest.raises(errors.UserError, match="gave up a task .out of memory.: run again"):
        list(tokenise.encode_all(_texts(), vocabulary=vocabulary, workers=1, runner="ray"))

    def silent(batch, wanted):
        raise ConnectionError

    monkeypatch.setattr(tokenise, "_encode_there", silent)
    with pytest.raises(errors.UserError, match="gave up a task .ConnectionError.: run again"):
        list(tokenise.encode_all(_texts(), vocabulary=vocabulary, workers=1, runner="ray"))


def test_a_programming_error_on_a_node_keeps_its_traceback(cluster, monkeypatch):
    def wrong(batch, wanted):
        raise ConnectionRefusedError("what Ray makes of a TypeError there")

    monkeypatch.setattr(tokenise, "_encode_there", wrong)
    vocabulary = tokenizer.get("gpt2-4096")
    with pytest.raises(ConnectionRefusedError):
        list(tokenise.encode_all(_texts(), vocabulary=vocabulary, workers=1, runner="ray"))
