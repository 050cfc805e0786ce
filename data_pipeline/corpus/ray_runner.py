"""The Ray Data runner: the tasks of a stage as the rows of a dataset, mapped on the cluster.

Every node must see the same sources and output directories (NFS, a bucket mount). Files are only
ever renamed into place, so that a task that Ray starts twice does no harm.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence

from data_pipeline import errors


def iterate(function: Callable, tasks: Sequence) -> Iterator:
    """Yields function(task) in the order of tasks; joins the cluster at RAY_ADDRESS if set."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise errors.UserError(
            "Ray is not installed; run: pip install -r requirements-ray.txt"
        ) from error
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    # One row a block: a task is minutes of work, and a block is what Ray hands to a worker.
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    mapped = dataset.map(_Task(function))
    done = {row["number"]: pickle.loads(row["result"]) for row in mapped.iter_rows()}
    yield from (done[number] for number in range(len(tasks)))


class _Task:
    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, row: dict) -> dict:
        # pickle between the driver and its own workers only; nothing of it is ever stored.
        result = self.function(pickle.loads(row["task"]))
        return {"number": row["number"], "result": pickle.dumps(result)}
