"""What one update is trained on. Axes: B windows, L length (block_size)."""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Windows and where they come from; NumPy on the host, jax arrays on the devices."""

    tokens: Any  # int32[B, L + 1]
    source: Any  # int32[B]: the number of each window's source in Mixture.components
