"""The training batches as a grain data set, for code that brings transformations of its own.

The trainer reads `loader.TrainLoader` itself: a batch is a function of its number, and grain would
add a step between (docs/architecture.md, "A step, from disk to update").
"""

import grain
import numpy as np

from data_pipeline.batches import loader as loaders


class Batches:
    """A random access source in grain's sense: [index] is {"tokens": int32[B, L + 1], "source":
    int32[B]}, the rows of this process. Picklable, so that grain's own processes can read it."""

    def __init__(self, loader: loaders.TrainLoader, num_batches: int):
        self._loader, self._num_batches = loader, num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < self._num_batches:
            raise IndexError(f"{self!r} has no batch {index}")
        return self._loader.batch(int(index))._asdict()

    def __repr__(self) -> str:
        return f"Batches({self._loader.fingerprint[:12]}, {self._num_batches})"


def map_dataset(loader: loaders.TrainLoader, *, num_batches: int) -> grain.MapDataset:
    """Batches 0..num_batches - 1 of a stage in their order: `.map`, `.to_iter_dataset()`, shards
    and process prefetch are grain's."""
    return grain.MapDataset.source(Batches(loader, num_batches))
