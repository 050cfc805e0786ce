"""Compiled programs as text, kept on disk by the hash of what they were compiled from: one of 750m
takes a minute or more."""

import gzip
import hashlib
import importlib.metadata
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import jax

from data_pipeline import atomic


def key(lowered: Any, topology: str, compiler: str, options: Mapping) -> str:
    """Of a lowered step, its places in the source included, and the compiler with its options."""
    versions = [jax.__version__, importlib.metadata.version(compiler)]
    said = [topology, *versions, lowered.as_text(debug_info=True)]
    said += [json.dumps(dict(options), sort_keys=True)] if options else []
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def load(directory: str, name: str) -> dict | None:
    """What was kept under `name`, None for nothing or for a file that cannot be read."""
    try:
        with gzip.open(_path(directory, name), "rt") as file:
            return json.load(file)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return None


def keep(directory: str, name: str, content: dict) -> None:
    if directory:
        os.makedirs(os.path.dirname(_path(directory, name)), exist_ok=True)
        with atomic.replacing(_path(directory, name)) as file:
            file.write(gzip.compress(json.dumps(content).encode()))


def _path(directory: str, name: str) -> str:
    return os.path.join(os.path.expanduser(directory), "text", f"{name[:32]}.json.gz")
