"""64-bit hashes with a number each, sorted on disk: which of many hashes are among many others."""

import os
from pathlib import Path

import numpy as np

_PARTITIONS = 64  # by hash: one of them is sorted in memory at a time
_BUFFER_ROWS = 1 << 20  # held before they are appended to their partitions
_ROW = np.dtype([("hash", "<u8"), ("number", "<i8")])


class Builder:
    """Takes hashes in any order; `close` sorts them. The directory holds no other table."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._held: list[np.ndarray] = []
        self._rows = 0

    def add(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        """Takes uint64[N] and int64[N]."""
        rows: np.ndarray = np.empty(len(hashes), _ROW)
        rows["hash"], rows["number"] = hashes, numbers
        self._held.append(rows)
        self._rows += len(rows)
        if self._rows >= _BUFFER_ROWS:
            self._spill()

    def close(self) -> "Table":
        """Returns the table, equal hashes in the order in which they came."""
        self._spill()
        hashes, numbers = (self._directory / name for name in ("hashes", "numbers"))
        with open(hashes, "wb") as hash_file, open(numbers, "wb") as number_file:
            for partition in range(_PARTITIONS):
                path = self._path(partition)
                rows: np.ndarray = np.fromfile(path, _ROW)
                path.unlink()
                rows = rows[np.argsort(rows["hash"], kind="stable")]
                hash_file.write(rows["hash"].tobytes())
                number_file.write(rows["number"].tobytes())
        return open_table(self._directory)

    def _spill(self) -> None:
        rows = np.concatenate([np.zeros(0, _ROW), *self._held])
        self._held, self._rows = [], 0
        keys = rows["hash"] >> np.uint64(64 - (_PARTITIONS - 1).bit_length())
        order = np.argsort(keys, kind="stable")
        borders = np.searchsorted(keys[order], np.arange(_PARTITIONS + 1))
        for partition in range(_PARTITIONS):
            with open(self._path(partition), "ab") as file:
                # Not tofile, which reports a full disk without its error number.
                file.write(rows[order[borders[partition] : borders[partition + 1]]].tobytes())

    def _path(self, partition: int) -> Path:
        return self._directory / f"partition_{partition}"


class Table:
    """The sorted hashes (uint64[rows]) and their numbers (int64[rows]), mapped from disk."""

    def __init__(self, hashes: np.ndarray, numbers: np.ndarray):
        self.hashes, self.numbers = hashes, numbers

    def __len__(self) -> int:
        return len(self.hashes)

    def first_rows(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of uint64[N] are here (bool[N]), and the first row of each that is.

        Sorted hashes are found faster: neighbours are near each other in the file.
        """
        if not len(self):
            return np.zeros(len(hashes), bool), np.zeros(0, np.int64)
        at = np.searchsorted(self.hashes, hashes)
        hit = self.hashes[np.minimum(at, len(self) - 1)] == hashes
        return hit, at[hit]

    def numbers_at(self, first_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns all numbers of the hashes that begin at some rows, and which of these each has.

        int64[M] numbers, int64[M] indices into `first_rows`.
        """
        counts = np.searchsorted(self.hashes, self.hashes[first_rows], side="right") - first_rows
        owners = np.repeat(np.arange(len(first_rows)), counts)
        offsets = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
        return self.numbers[first_rows[owners] + offsets], owners


def open_table(directory: Path) -> Table:
    """Opens what a builder closed."""
    return Table(map_file(directory / "hashes", "<u8"), map_file(directory / "numbers", "<i8"))


def map_file(
    path: Path, dtype: str, *, new_rows: int | None = None, writable: bool = False
) -> np.ndarray:
    """Returns a file as an array, read only or `writable`; or a new file of so many zeros.

    The file is open for as long as the array lives.
    """
    if not (path.stat().st_size if new_rows is None else new_rows):
        return np.zeros(0, dtype)  # no bytes cannot be mapped
    if new_rows is None:
        return np.memmap(path, dtype, "r+" if writable else "r").view(np.ndarray)
    with open(path, "w+b") as file:
        # Room for all of it now: a full disk would kill the process that writes to the map.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, new_rows * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "r+", shape=new_rows).view(np.ndarray)
