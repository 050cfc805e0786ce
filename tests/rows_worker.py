"""One of two processes whose devices lie on the mesh as those of a TPU slice's hosts do.

python tests/rows_worker.py PORT INDEX prints JSON: the rows that it reads, whether a batch came
together as it was, and the losses of an evaluation in which a window's loss is its number.
"""

import json
import sys

import jax
import numpy as np

from data_pipeline.batches.eval_windows import EvalWindows
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses

BATCH, WINDOWS = 8, 13


def numbered(count: int) -> np.ndarray:
    """int32[count, 3]: windows whose tokens are their number."""
    return np.repeat(np.arange(count, dtype=np.int32)[:, None], 3, axis=1)


def main(port: str, index: str) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"localhost:{port}", 2, int(index))
    # A host has a block of the grid, the mesh axis goes along its lines: 0, 1, 0, 1.
    devices = np.array(jax.devices()).reshape(2, 2).T
    assert [d.process_index for d in devices.flat] == [0, 1, 0, 1]
    mesh = jax.sharding.Mesh(devices.reshape(1, 4, 1), sharding.MESH_AXES)
    rows = sharding.local_rows(mesh, BATCH)
    batch = sharding.global_batch(mesh, numbered(BATCH)[rows], BATCH)
    source = EvalWindows(numbered(WINDOWS), np.zeros((WINDOWS, 2), np.int64), "")
    scores = losses.score(
        jax.jit(lambda params, windows: {"nll": windows[:, 1:].astype(np.float32)}),
        {},
        {"general/x": source},
        mesh=mesh,
        batch_size=BATCH,
        token_bytes=np.ones(WINDOWS, np.int64),
    )
    found = {
        "rows": rows.tolist(),
        "batch": sharding.to_host(batch)[:, 0].tolist(),
        "losses": scores["general/x"].loss_W.tolist(),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
