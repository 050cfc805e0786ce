"""The file of an evaluation, eval/step_N.npz, as arrays: written, vouched for, read.

eval/manifest.json has the sizes and SHA-256. What is not as it was written is not compared with,
and never stops a run: a line says why. Files from before there was a manifest are checked by the
CRCs of their format.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from data_pipeline import atomic
from mypt_jax.runs import integrity

# What the readers of zip and npy raise for bytes that are none.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,  # a flag says that it is encrypted
    NotImplementedError,  # or compressed by a method to come
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def save(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an evaluation, {"role/source/field": array}, and vouches for it."""
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    with atomic.replacing(path) as file:
        # To the stub any of them may be allow_pickle.
        np.savez_compressed(file, **arrays)  # ty: ignore[invalid-argument-type]
    integrity.vouch(directory, name)


def damage(path: str) -> str:
    """Why an evaluation that was written cannot be read; "" also where there never was one."""
    was_written = os.path.isfile(path) or integrity.names(*os.path.split(path))
    return read(path)[1] if was_written else ""


def read(path: str) -> tuple[dict[str, np.ndarray] | None, str]:
    """({"role/source/field": array}, ""), or (None, why it cannot be compared with)."""
    directory, name = os.path.split(path)
    if not os.path.isfile(path):
        return None, f"{path} is missing"
    if integrity.is_committed(directory):
        reason = integrity.fault(directory, only=name)
        if reason:
            return None, f"{path}: {reason}"
    try:
        with zipfile.ZipFile(path) as members:
            damaged = members.testzip()  # before an array is made as large as damage says
        if damaged is not None:
            return None, f"{path}: {damaged} is damaged"
        with np.load(path, allow_pickle=False) as file:
            return {field: file[field] for field in file.files}, ""
    except _UNREADABLE as error:
        return None, f"{path} cannot be read ({type(error).__name__})"
