"""Writing so that a reader sees all of it or none: stage beside the target, fsync, rename."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import BinaryIO

from data_pipeline import errors

PARTIAL = ".partial"  # how names of what is being written end
_MOVING = ".moving"


@contextlib.contextmanager
def staged_directory(out_dir: Path) -> Iterator[Path]:
    """Yields an empty directory beside `out_dir` that becomes `out_dir` when the block succeeds.

    What an interrupted attempt left is removed first. Raises UserError when `out_dir` holds
    anything, cannot be written, is being written by another process, or the disk is full.
    A mount point, which nothing can replace, gets the entries one by one, files last.
    """
    out_dir = Path(os.path.abspath(out_dir))
    is_mount = os.path.ismount(out_dir)
    staging = (out_dir if is_mount else out_dir.parent) / f".{out_dir.name}{PARTIAL}"
    check_free(out_dir)
    with _readable_failures(out_dir):
        staging.mkdir(parents=True, exist_ok=True)
        with locked(staging):
            _remove_moved(out_dir, staging)
            _empty(staging)
            try:
                yield staging
                sync_tree(staging)
                if is_mount:
                    _move_entries(staging, out_dir)
                else:
                    os.rename(staging, out_dir)
                    sync(out_dir.parent)
            except BaseException:
                _remove_moved(out_dir, staging)
                shutil.rmtree(staging, ignore_errors=True)
                raise


def check_free(out_dir: Path) -> None:
    """Raises UserError when `out_dir` is a file, or a directory that holds anything.

    What a killed `staged_directory` left in a mount point, and lost+found there, count for nothing.
    """
    if out_dir.is_dir():
        staging = out_dir / f".{os.path.abspath(out_dir).rpartition('/')[2]}{PARTIAL}"
        ours = {staging.name, "lost+found", *_moved(staging)} if os.path.ismount(out_dir) else set()
        if any(entry.name not in ours for entry in out_dir.iterdir()):
            raise errors.UserError(f"{out_dir} is not empty: remove it or choose another directory")
    elif out_dir.exists() or out_dir.is_symlink():
        raise errors.UserError(f"{out_dir} is a file, a directory is wanted: choose another path")


def _moved(staging: Path) -> list[str]:
    """Names of what was being moved out of a directory when its process died."""
    try:
        return json.loads((staging / _MOVING).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []


def _remove_moved(out_dir: Path, staging: Path) -> None:
    """Takes away what a killed or failed attempt had moved into a mount point."""
    for name in _moved(staging):
        path = out_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _move_entries(staging: Path, out_dir: Path) -> None:
    """Directories first, so that a manifest comes when all that it names is there."""
    entries = sorted(staging.iterdir(), key=lambda entry: (not entry.is_dir(), entry.name))
    write_json(staging / _MOVING, [entry.name for entry in entries])
    for entry in entries:
        os.rename(entry, out_dir / entry.name)
    sync(out_dir)
    shutil.rmtree(staging)


@contextlib.contextmanager
def locked(path: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on a directory, or on a file, which is made where it is missing.

    The kernel drops the lock of a dead process. Where another one has it, this one waits, or raises
    UserError.
    """
    flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise errors.UserError(
                f"{path} is being written by another command: wait for it to end"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable_failures(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if (known := errors.of_system(error, where=target)) is None:
            raise
        raise known from None


@contextlib.contextmanager
def replacing(path: str | Path, *, writer: object = "") -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block succeeds, and else is removed.

    Its bytes are durable before its name is. `writer` tells apart those that may write one path at
    a time.
    """
    partial = partial_name(path, writer=writer)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise


def partial_name(path: str | Path, *, writer: object = "") -> str:
    """What `replacing` writes, which a kill leaves behind."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}{f'.{writer}' if writer else ''}{PARTIAL}")


def write_json(path: Path, content) -> None:
    """Replaces `path` by the JSON of `content` in one step."""
    with _readable_failures(path):
        with replacing(path) as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        sync(path.parent)


@contextlib.contextmanager
def appending(directory: Path) -> Iterator[None]:
    """Locks an existing dataset for one writer and turns a full disk into a UserError."""
    with _readable_failures(directory), locked(directory):
        yield


def sync(path: Path) -> None:
    """Makes a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directories(root: Path) -> None:
    """Makes the names in every directory below `root` durable."""
    for directory, _, _ in os.walk(root):
        sync(Path(directory))


def sync_tree(root: Path) -> None:
    """Makes every file and directory below `root` durable."""
    files = [Path(directory, name) for directory, _, names in os.walk(root) for name in names]
    # Together they share the journal's commits, and the disk's bandwidth.
    with futures.ThreadPoolExecutor(8, "sync") as pool:
        for _ in pool.map(sync, files):
            pass
    sync_directories(root)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
