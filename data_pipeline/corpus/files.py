"""Files that are either complete or absent: written beside their place, synced, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_pipeline import atomic

# Stands in a source's directory while its files are being fetched.
UNFINISHED = ".fetching"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """atomic.replacing, where the directory may be missing and two workers redo the same part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, writer=os.getpid()) as stream:
        yield stream


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file."""
    with replacing(path) as stream:
        stream.write(data)


def write_json(path: Path, value) -> None:
    """Writes JSON with sorted keys: equal values are equal bytes."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    write_bytes(path, text.encode() + b"\n")


def read_json(path: Path):
    """Returns what write_json wrote, or None where there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes one array in NumPy's format."""
    with replacing(path) as stream:
        np.save(stream, array, allow_pickle=False)


def read_array(path: Path) -> np.ndarray:
    """Opens an array of write_array as a memory map; an empty one is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty file cannot be mapped
        return np.load(path, allow_pickle=False)


def remove_partials(directory: Path) -> None:
    """Removes what a killed process left half-written; nothing ever reads such a file."""
    for path in directory.glob("**/.*.partial"):
        if path.is_file():
            path.unlink(missing_ok=True)
