"""One of two processes that see one directory, and save into it.

python tests/saves_worker.py PORT INDEX DIR         saves step 1
python tests/saves_worker.py PORT INDEX DIR lost    and step 2, in which process 1 is lost

Prints JSON: the bytes of the state on this process's devices, and what became of the last save.
"""

import json
import os
import sys
import tempfile

import jax
import numpy as np

from mypt_jax import exits
from mypt_jax.checkpoint import save
from mypt_jax.distributed import hosts, sharding
from mypt_jax.runs import integrity

ROWS, COLUMNS = 4096, 64
LIMIT_SECS = 5.0


def state_of(mesh: jax.sharding.Mesh) -> dict:
    """An array in shards, a smaller one that all devices hold, and the count of steps."""
    numbers = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)

    def placed(x, *axes):
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        return jax.make_array_from_callback(x.shape, place, lambda index: x[index])

    return {
        "params": {"split": placed(numbers, "fsdp"), "whole": placed(numbers[:1])},
        "opt_state": {"moments": placed(-numbers, None, "fsdp")},
        "step": placed(np.int32(1)),
    }


def main(port: str, index: str, directory: str, what: str = "") -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(
        f"localhost:{port}", 2, int(index), shutdown_timeout_seconds=round(LIMIT_SECS)
    )
    state = state_of(sharding.make_mesh((1, 4, 1)))
    own = [s for x in jax.tree.leaves(state) for s in x.addressable_shards if not s.replica_id]
    common = hosts.share(directory, timeout_secs=LIMIT_SECS)
    with tempfile.TemporaryDirectory() as here:
        apart = not hosts.share(here, timeout_secs=LIMIT_SECS)
    saver = save.Checkpointer(directory, keep=set, timeout_secs=LIMIT_SECS, is_common=common)
    ended = ""
    saver.save(1, state, {})
    saver.wait()
    if what == "lost":
        if index == "1":  # all is written but its digests are not told
            integrity.entries_below = lambda *_: os._exit(9)
        try:
            saver.save(2, state, {})
            saver.wait()
        except exits.RunEnd as error:
            ended = f"{type(error).__name__}: {error}"
    held = sum(shard.data.nbytes for shard in own)
    print(json.dumps({"bytes": held, "apart": apart, "ended": ended}), flush=True)
    if what == "lost":
        os._exit(0)  # the other one cannot take its leave


if __name__ == "__main__":
    main(*sys.argv[1:])
