"""A workdir in a bucket: process 0 works in its local mirror and pushes it, others fetch a step.

The mirror has an owner, a name that the bucket holds while that mirror is the newest. A machine
that starts with another one's name there takes over what the bucket has, and puts its own name;
one that finds itself replaced stops before it pushes. At any moment the bucket can be resumed
from: a step's manifest is pushed after its files and after the rows that lead to it.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Mapping

from data_pipeline import atomic
from mypt_jax import exits
from mypt_jax.runs import integrity, kinds, layout, lease_place, lineage
from mypt_jax.storage.bucket import Bucket, local_path, locked, url_of
from mypt_jax.storage.copies import Object

MARKER = "mirror.json"  # {"owner": name of a mirror}


def prepare(url: str) -> str:
    """The local mirror of a workdir, with all files but the steps. Raises UserError."""
    local = local_path(url)
    bucket = Bucket(url)
    with locked(local):
        if _owner(bucket) and not is_newest(bucket, local):
            # Another machine went on: rows here that it does not have would be pushed over its own.
            shutil.rmtree(local, ignore_errors=True)
            objects = bucket.objects()
            small = [name for name in objects if _is_of_run(name) and not _of_step(name)]
            bucket.fetch(local, small, objects)
    return local


def is_newest(bucket: Bucket, local: str, below: str = "") -> bool:
    """Whether nobody else took over the run at `below` since its mirror `local` was pushed."""
    return _owner(bucket, below) == _name(local) != ""


def _owner(bucket: Bucket, below: str = "") -> str:
    """The name of the mirror that is the newest; "" when nothing was ever pushed."""
    name = f"{below}/{MARKER}" if below else MARKER
    data = bucket.read(name)
    if data is None:
        return ""
    url = bucket.url
    return lineage.parse_json(data, f"{url}/{name}", what=url, wanted=kinds.MIRROR)["owner"]


def _name(local: str) -> str:
    path = os.path.join(local, MARKER)
    if not os.path.isfile(path):
        return ""
    return lineage.read_json(path, what=local, wanted=kinds.MIRROR)["owner"]


def _is_of_run(name: str) -> bool:
    """Not what says which machine or process has the run."""
    of_owners = (f"{lease_place.FOLDER}/", lease_place.BEFORE_NUMBERS)
    return name != MARKER and not name.startswith(of_owners)


def _of_step(name: str) -> bool:
    return name.startswith(f"{layout.CHECKPOINTS}/")


class Mirror:
    """The workdir's link to its bucket; does nothing for a workdir that has none."""

    def __init__(self, workdir: str):
        self._workdir = workdir
        self._url = url_of(workdir)
        self.bucket = Bucket(self._url) if self._url else None
        self._pushed: dict[str, tuple[int, int]] = {}

    @property
    def is_remote(self) -> bool:
        return self.bucket is not None

    @property
    def _remote(self) -> Bucket:
        assert self.bucket is not None
        return self.bucket

    @property
    def is_newest(self) -> bool:
        return self.is_remote and is_newest(self._remote, self._workdir)

    def holds(self, prefix: str) -> bool:
        """Whether the bucket has files of the run that begin so; steps come with `take_over`."""
        return self.is_remote and any(n.startswith(prefix) for n in self._remote.objects())

    def take_over(self) -> None:
        """Fetches all unless this mirror is the newest, and makes it that; by process 0, when it
        has the lease: the owner before may have pushed since `prepare`."""
        if not self.is_remote:
            return
        os.makedirs(self._workdir, exist_ok=True)
        with locked(self._workdir):
            if not self.is_newest:
                objects = self._remote.objects()
                self._fetch([name for name in objects if _is_of_run(name)], objects)
                # A mirror keeps its name, so that a restart of the same machine finds its own.
                name = _name(self._workdir) or uuid.uuid4().hex
                lineage.write_json(os.path.join(self._workdir, MARKER), {"owner": name})
                self._remote.put(os.path.join(self._workdir, MARKER), MARKER)
            for name, found in self._remote.objects().items():
                path = os.path.join(self._workdir, name)
                if _of_step(name) and os.path.isfile(path) and os.path.getsize(path) == found.size:
                    self._pushed[name] = _state(path)

    def fetch_step(self, step: int) -> None:
        """Makes one step valid here, by a process that does not write. Raises NoValidState."""
        directory = layout.step_dir(self._workdir, step)
        if not self.is_remote:
            if not integrity.is_committed(directory):
                raise exits.NoValidState(
                    f"step {step} of {self._workdir}, which process 0 has, is not there: several "
                    "hosts want a directory that all of them see, or --config.workdir=gs://..."
                )
            return
        with locked(self._workdir):
            name = f"{layout.step_dir('', step)}/{integrity.MANIFEST}"
            if not integrity.fault(directory) and self._is_as_pushed(name):
                return
            # Steps of an earlier start are of no use to a process that does not write.
            shutil.rmtree(layout.join(self._workdir, layout.CHECKPOINTS), ignore_errors=True)
            objects = self._remote.objects()
            prefix = layout.step_dir("", step) + "/"
            self._fetch([name for name in objects if name.startswith(prefix)], objects)
            reason = integrity.fault(directory)
        if reason:
            raise exits.NoValidState(f"{self._url}: step {step} as fetched is invalid: {reason}")

    def _is_as_pushed(self, name: str) -> bool:
        """Whether a file is here as it is in the bucket: a step may have lost its optimizer."""
        with open(os.path.join(self._workdir, name), "rb") as file:
            return file.read() == self._remote.read(name)

    def _fetch(self, names: list[str], objects: Mapping[str, Object]) -> None:
        # Last, as they were written: a fetch that is cut leaves a step that is none.
        manifests = [name for name in names if name.endswith(f"/{integrity.MANIFEST}")]
        self._remote.fetch(self._workdir, [n for n in names if n not in manifests], objects)
        self._remote.fetch(self._workdir, manifests, objects)

    def push(self, check_owner: Callable[[], None]) -> None:
        """Uploads what changed and removes steps that are gone; `check_owner` is called before
        each of it. Raises StorageFailure, and LostPeer when another machine took the run over."""
        if not self.is_remote:
            return
        try:
            if not self.is_newest:
                raise exits.LostPeer(
                    f"{self._url} belongs to another machine now: this process stops before it "
                    "writes there"
                )
            self._push(check_owner)
        except exits.RunEnd:
            raise
        except Exception as error:
            raise exits.StorageFailure(
                f"{self._url} cannot be written ({type(error).__name__}: {error}); all that is "
                f"missing there is in {self._workdir}, and the next start here pushes it"
            ) from error

    def _push(self, check_owner: Callable[[], None]) -> None:
        local = {}
        for root, _, names in os.walk(self._workdir):
            for name in names:
                path = os.path.join(root, name)
                local[os.path.relpath(path, self._workdir)] = path
        kept = {name: path for name, path in local.items() if _travels(name, self._workdir)}
        changed: dict[int, list[str]] = {}
        for name, path in sorted(kept.items()):
            if self._pushed.get(name) != _state(path):
                changed.setdefault(_rank(name), []).append(name)
        for rank in sorted(changed):
            self._put(changed[rank], check_owner)
            # Only these are final: rows and records grow while they are sent.
            if rank == 0:
                self._check_arrived(changed[rank])
        remote = self._remote.objects()
        gone = [name for name in remote if _of_step(name) and name not in kept]
        # The manifest first: from then on the step is none.
        for name in sorted(gone, key=lambda name: not name.endswith(integrity.MANIFEST)):
            check_owner()
            self._remote.remove(name)

    def _check_arrived(self, names: list[str]) -> None:
        """Raises OSError when files of a step, which never change, are of another size there."""
        remote = self._remote.objects()
        for name in names:
            arrived, sent = remote.get(name, Object(0, "")).size, self._pushed[name][0]
            if arrived != sent:
                raise OSError(f"{name} arrived with {arrived} of {sent} bytes")

    def _put(self, names: list[str], check_owner: Callable[[], None]) -> None:
        paths = {name: os.path.join(self._workdir, name) for name in names}
        states = {name: _state(path) for name, path in paths.items()}
        self._remote.put_all(paths, check_owner)
        self._pushed.update(states)


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _travels(name: str, workdir: str) -> bool:
    """Whether a file belongs in the bucket: no lease, no half-written file, no unfinished step."""
    parts = name.split(os.sep)
    if not _is_of_run(name) or name.endswith(atomic.PARTIAL):
        return False
    if parts[0] != layout.CHECKPOINTS:
        return True
    step = os.path.join(workdir, *parts[:2])
    return len(parts) > 2 and integrity.is_committed(step)


def _rank(name: str) -> int:
    """Files of steps, rows and records, manifests of steps, finished.json; equal ranks together."""
    if name == layout.FINISHED:
        return 3
    if not _of_step(name):
        return 1
    return 2 if name.endswith(f"/{integrity.MANIFEST}") else 0
