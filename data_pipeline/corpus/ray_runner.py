"""The Ray Data runner: the tasks of a stage as the rows of a dataset, mapped on the cluster.

Every node must see the same sources and output directories (NFS, a bucket mount). Files are only
ever renamed into place, so that a task that Ray starts twice does no harm.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from data_pipeline import errors

_ROOT = Path(__file__).resolve().parents[2]


def iterate(function: Callable, tasks: Sequence) -> Iterator:
    """Yields function(task), JSON values, in the order of tasks; joins RAY_ADDRESS if set."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise errors.UserError(
            "Ray is not installed; run: pip install -r requirements-ray.txt"
        ) from error
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        # The checkout lies at the same path on every node.
        environment = {"env_vars": {"PYTHONPATH": str(_ROOT)}}
        ray.init(address=address, log_to_driver=False, runtime_env=environment)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # The tasks travel once a node, through Ray's object store; a row holds a number only.
    stored = ray.put(list(tasks))

    def call(row: dict) -> dict:
        result = function(ray.get(stored)[row["number"]])
        return {"number": row["number"], "result": json.dumps(result)}

    # One row a block: a task is minutes of work, and a block is what Ray hands to a worker.
    rows = [{"number": number} for number in range(len(tasks))]
    mapped = ray.data.from_items(rows, override_num_blocks=max(1, len(rows))).map(call)
    done = {row["number"]: json.loads(row["result"]) for row in mapped.iter_rows()}
    yield from (done[number] for number in range(len(tasks)))
