"""Runs a stage's tasks: in this process, in a pool of processes, or on a Ray cluster.

A task is a picklable value, its function writes files and returns a small result; results come
back in the order of the tasks, so that no runner and no number of workers shows in the output.
"""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence

from data_pipeline import errors

RUNNERS = ("local", "ray")


def run(
    function: Callable,
    tasks: Sequence,
    *,
    runner: str,
    workers: int,
    progress: Callable[[int], None],
) -> list:
    """Returns [function(task) for task in tasks]; calls progress(number done) as they finish.

    Raises UserError if a worker was killed or the runner is not installed.
    """
    if runner not in RUNNERS:
        raise errors.UserError(f"got runner {runner!r}, wanted one of {', '.join(RUNNERS)}")
    results = []
    for result in _iterate(function, tasks, runner, workers):
        results.append(result)
        progress(len(results))
    return results


def _iterate(function, tasks, runner, workers) -> Iterator:
    if runner == "ray":
        from data_pipeline.corpus import ray_runner  # Ray is in requirements-ray.txt only

        yield from ray_runner.iterate(function, tasks)
    elif workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
    else:
        yield from _pool(function, tasks, workers)


def _pool(function, tasks, workers) -> Iterator:
    # spawn: a forked child would share locks and threads of whatever the parent has loaded.
    context = multiprocessing.get_context("spawn")
    workers = min(workers, len(tasks))
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(function, tasks)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise errors.UserError(
                "a worker was killed (out of memory?): run again to resume, with fewer --workers"
            ) from error


def default_workers() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
