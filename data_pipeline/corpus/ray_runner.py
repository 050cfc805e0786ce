"""Ray: the tasks of a stage as the rows of a dataset, or a stream of tasks, on the cluster.

Every node must see the same sources and output directories (NFS, a bucket mount). Files are only
ever renamed into place, so that a task that Ray starts twice does no harm.
"""

import collections
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipeline import errors

_ROOT = Path(__file__).resolve().parents[2]


def iterate(function: Callable, tasks: Sequence) -> Iterator:
    """Yields function(task), JSON values, in the order of tasks; joins RAY_ADDRESS if set."""
    ray = _connected()
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


def stream(function: Callable[[Any, Any], Any], items: Iterable, common: Any) -> Iterator:
    """Yields function(item, common) in the order of items, which are read as they are needed.

    Raises UserError where a worker was lost more often than Ray starts a task again.
    """
    ray = _connected()
    task, stored = ray.remote(function), ray.put(common)
    cores = int(ray.cluster_resources().get("CPU", 1))
    waiting: collections.deque = collections.deque()
    try:
        for item in items:
            waiting.append(task.remote(item, stored))
            if len(waiting) > 2 * cores:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError:  # an error of the program keeps its traceback
        raise
    except ray.exceptions.RayError as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise errors.UserError(f"the Ray cluster gave up a task ({said}): run again") from None


def _connected() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise errors.UserError(
            "Ray is not installed; run: pip install -r requirements-ray.txt"
        ) from error
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        # The checkout lies at the same path on every node, as what else is on this path.
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        environment = {"env_vars": {"PYTHONPATH": path}}
        ray.init(address=address, log_to_driver=False, runtime_env=environment)
    return ray
