"""--runner=ray on a real cluster of two nodes (requirements-ray.txt; scripts/test.sh --all)."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: Ray's threads and sockets outlive any test.
DRIVER = """
import os, sys, json
import ray
from ray.cluster_utils import Cluster
from data_pipeline.corpus import command

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
os.environ["RAY_ADDRESS"] = cluster.address
code = command.main(sys.argv[1:], registry_path="", description="", say=lambda text: None)
print(json.dumps({"code": code, "nodes": sum(node["Alive"] for node in ray.nodes())}))
ray.shutdown()
cluster.shutdown()
"""


def _digest(directory):
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "work" not in path.relative_to(directory).parts
    }


@pytest.mark.full
def test_two_nodes_give_the_bytes_of_one_process(tmp_path):
    pytest.importorskip("ray")
    pages = tmp_path / "sources" / "pages"
    pages.mkdir(parents=True)
    for number in range(300):
        text = " ".join(f"The page {number} of the set is about {number * n}." for n in range(40))
        (pages / f"p{number}.txt").write_text(text)
    (tmp_path / "registry.json").write_text(
        '{"schema": 1, "sources": [{"name": "pages", "role": "domain", "lang": "en", '
        '"reader": "plain", "include": ["*.txt"], "licence": "MIT", "attribution": "", '
        '"homepage": "", "fetch": {"kind": "local"}}]}'
    )
    common = [
        f"--registry={tmp_path / 'registry.json'}",
        f"--sources_dir={tmp_path / 'sources'}",
        "--count_tokens=",
    ]
    for name, flags in (("ray", ["--runner=ray"]), ("local", ["--workers=1"])):
        program = DRIVER if name == "ray" else (
            "import sys; from data_pipeline.corpus import command; "
            "command.main(sys.argv[1:], registry_path='', description='', say=lambda text: None)"
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", program, *common, f"--out_dir={tmp_path / name}", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        if name == "ray":
            assert '"nodes": 2' in done.stdout
    assert _digest(tmp_path / "ray") == _digest(tmp_path / "local")
