"""Programs for TPUs that are not here, by their compiler; only scripts/test.sh --all makes them."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.full
STEP = ["--config=configs/v8.py:tiny", "--config.model.n_layer=2", "--config.model.loss_chunks=4"]


def said(*arguments: str) -> str:
    """What a process prints that has libtpu to itself."""
    pytest.importorskip("libtpu")
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_step_compiles_for_a_tpu_slice_that_is_not_here():
    out = said("-m", "mypt_jax.plan", *STEP, "--topology=v5e:2x2", "--config.compile_cache=")
    (row,) = re.findall(r"^  light +16 +4 +1x4x1 .*", out, re.MULTILINE)
    assert "fits" in row
    state, aliased = row.split()[4:6]
    assert state == aliased


def test_a_compiled_step_is_explained_and_compared(tmp_path):
    """In JSON; the second time from the cache, with the same figures."""
    arguments = [
        *("-m", "mypt_jax.plan", *STEP, "--topology=v5e:2x2", f"--config.compile_cache={tmp_path}"),
        *("--explain", "--json", "--compare", "model.remat=full"),
    ]
    first, second = (json.loads(said(*arguments)) for _ in range(2))
    assert first == second and len(list((tmp_path / "text").iterdir())) == 2
    own, full = first["explain"], first["compare"]["model.remat=full"]
    for figures in (own, full):
        assert 0 < figures["product_ideal_mcycles"] < figures["product_mcycles"]
        assert figures["product_mcycles"] < figures["total_mcycles"]
        assert 0 < figures["peak_gib"] < 1 and figures["fits"]
        assert figures["logits_arrays"] == []
    # Two layers, whose backward pass needs attention's output again with `full` alone.
    assert (own["attention_forward_again"], full["attention_forward_again"]) == (0, 2)


def test_options_of_the_compiler_are_compared_and_refused(tmp_path):
    pytest.importorskip("libtpu")
    arguments = ["-m", "mypt_jax.plan", *STEP, "--topology=v5e:2x2", "--explain", "--json"]
    arguments += [f"--config.compile_cache={tmp_path}", "--compare"]
    known = "xla_enable_async_all_gather=false+xla_tpu_enable_async_collective_fusion=false"
    found = json.loads(said(*arguments, known))
    assert found["compare"][known] != found["explain"]
    for strange in ("xla_no_such_option=1", "xla_tpu_scoped_vmem_limit_kib=much"):
        done = subprocess.run(
            [sys.executable, *arguments, strange],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        line = f"error: --compare {strange}: the compiler for v5e:2x2 refuses it"
        assert done.returncode == 2 and done.stderr.startswith(line), done.stderr
        assert not done.stdout and done.stderr.count("\n") == 1


WIDE = """
import json, sys
from mypt_jax.plan import asked, costs, explain, topology
from mypt_jax.schema import overrides
topology.prepare()
for gather in (True, False):
    given = overrides.read([*sys.argv[1:], f"--config.model.gather_weights={gather}"])
    config = costs.resolve(asked.config(given), given.overridden)
    account = explain.explain(config, "v5e:2x4", options={}).account
    of_loss = [(c.kind, c.times) for c in account.collectives if "loss.py" in "".join(c.source)]
    print(json.dumps([account.windowed_products, of_loss]))
"""


def test_weights_come_whole_to_their_products_and_the_head_once(tmp_path):
    """At a width and a batch at which the compiler would by itself take products in slices."""
    more = dict(n_embd=1280, n_head=20, block_size=1024, vocab_size=50304, scan_layers=True)
    arguments = [*STEP, "--config.batch_size=96", f"--config.compile_cache={tmp_path}"]
    arguments += [f"--config.model.{name}={value}" for name, value in more.items()]
    whole, sliced = map(json.loads, said("-c", WIDE, *arguments).splitlines())
    assert whole[0] == 0 < sliced[0]
    of_head = [times for kind, times in whole[1] if kind in ("all-gather", "reduce-scatter")]
    assert of_head == [1, 1]


SLICES = """
from mypt_jax.plan import topology as plan_topology
from mypt_jax.distributed import sharding
plan_topology.prepare()
for name, sizes in {
    "v5e:4x4": (1, 16, 1), "v6e:4x4": (2, 8, 1), "v4:2x2x4": (1, 4, 4), "v5e:4x4*2": (4, 8, 1)
}.items():
    mesh = sharding.make_mesh(sizes, plan_topology.devices(name))
    hosts = [device.process_index for device in mesh.devices.flat]
    print(name, mesh.devices.shape == sizes, hosts == sorted(hosts))
"""


def test_a_mesh_is_laid_on_slices_that_its_sizes_do_not_fit():
    rows = [line.split() for line in said("-c", SLICES).splitlines()]
    assert [row[1] for row in rows] == ["True"] * 4
    # The reason why sharding.local_rows gives rows, and no range of them.
    assert rows[0] == ["v5e:4x4", "True", "False"]
