"""Blocks of sampled tokens, kept beside the dataset that they will be, so that a kill costs one.

.NAME.samples/identity.json     what decides the blocks
.NAME.samples/000000.npy        tokens [B, L]: rows, context
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data_pipeline import atomic, errors
from mypt_jax.runs import kinds, lineage

SCHEMA = 1
_IDENTITY = "identity.json"
_WANTED = {
    "schema": kinds.Schema(SCHEMA),
    "params_sha256": kinds.TEXT,
    "tokenizer_sha256": kinds.TEXT,
    "seed": kinds.COUNT,
    "block_rows": kinds.COUNT,
}


class Blocks:
    """blocks[number] -> int[B, L], sampled where it is not there yet."""

    def __init__(self, directory: Path, sample: Callable[[int], np.ndarray], dtype: np.dtype):
        self._directory, self._sample, self._dtype = directory, sample, dtype

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:06d}.npy"

    def __contains__(self, number: int) -> bool:
        return self._path(number).exists()

    def __getitem__(self, number: int) -> np.ndarray:
        path = self._path(number)
        if not path.exists():
            with atomic.replacing(path) as file:
                np.save(file, self._sample(number).astype(self._dtype), allow_pickle=False)
        return np.load(path, allow_pickle=False)


@contextlib.contextmanager
def kept(
    out_dir: Path, identity: dict, sample: Callable[[int], np.ndarray], dtype: np.dtype
) -> Iterator[Blocks]:
    """The blocks of a dataset, which are removed when the block of code succeeds.

    Raises UserError where those of another identity lie, or another process is at work.
    """
    directory = out_dir.parent / f".{out_dir.name}.samples"
    path, identity = directory / _IDENTITY, {"schema": SCHEMA, **identity}
    if path.exists():
        found = lineage.read_json(str(path), what="samples", wanted=_WANTED)
        for key, (theirs, own) in lineage.differences(found, identity).items():
            raise errors.UserError(
                f"{directory} holds blocks that were sampled with {key} {theirs}, not {own}: go on "
                "as they were begun, or remove that directory"
            )
    directory.mkdir(parents=True, exist_ok=True)
    with atomic.locked(directory):
        if not path.exists():
            atomic.write_json(path, identity)
        yield Blocks(directory, sample, dtype)
        shutil.rmtree(directory)
