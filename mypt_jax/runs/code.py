"""Which code made a run: a digest of the project's own source files."""

import functools
import hashlib
import os


@functools.cache
def digest() -> str:
    """SHA-256 over names and bytes of the Python files of mypt_jax and data_pipeline, 12 digits."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = os.path.dirname(package)
    found = hashlib.sha256()
    for place in ("data_pipeline", os.path.basename(package)):
        for folder, folders, names in os.walk(os.path.join(root, place)):
            folders.sort()
            for name in sorted(name for name in names if name.endswith(".py")):
                path = os.path.join(folder, name)
                found.update(f"{os.path.relpath(path, root)}\n".encode())
                with open(path, "rb") as file:
                    found.update(file.read())
    return found.hexdigest()[:12]
