"""What one update is trained on. Axes: B windows, L length (block_size)."""

from typing import Any, NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Windows and where they come from; NumPy on the host, jax arrays on the devices."""

    tokens: Any  # int32[B, L + 1]
    source: Any  # int32[B]: the number of each window's source in Mixture.components


def begun(windows: np.ndarray, *, bos: int, eot: int) -> np.ndarray:
    """Windows int32[.., L + 1] of which those that are cut out of a document begin with BOS.

    It takes the place of their first token, which is read and not predicted: as such it is the last
    of the window before.
    """
    first, found = windows[..., 0], windows.copy()
    found[..., 0] = np.where((first == bos) | (first == eot), first, bos)
    return found
