"""gs:// and s3:// paths, worked on in a local mirror: gs://bucket/run is remote/gs/bucket/run.

Datasets and parents are fetched once and verified by their own manifests when they are opened. A
workdir is fetched at the start and pushed after every checkpoint and at the end, a step's manifest
after its files, so that what the bucket holds can always be resumed, on any machine. For one host:
several want a directory that all of them see (NFS, or the bucket mounted by gcsfuse).
"""

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping

from data_pipeline import shards
from data_pipeline.errors import UserError
from mypt_jax import exits, hosts, integrity, lineage, run

MIRROR = "remote"
SCHEMES = ("gs", "s3")
MARKER = "mirror.json"  # who pushed last: {"owner", "pushes"}
# Read as an ancestor: everything but optimizer state and steps that init_from does not name.
_RUN_FILES = (run.CONFIG, lineage.FILE, run.FINISHED, run.METRICS)


def local_path(path: str) -> str:
    """gs://bucket/run -> remote/gs/bucket/run; other paths unchanged. Raises UserError."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return path
    if scheme not in SCHEMES:
        raise UserError(f"{path}: {scheme}:// is not known, wanted gs:// or s3:// or a directory")
    return os.path.join(MIRROR, scheme, rest.rstrip("/"))


def url_of(path: str) -> str:
    """The inverse of local_path; "" for a path that is no mirror."""
    parts = os.path.normpath(path).split(os.sep)
    if len(parts) < 3 or parts[0] != MIRROR or parts[1] not in SCHEMES:
        return ""
    return f"{parts[1]}://{'/'.join(parts[2:])}"


class Bucket:
    """Files below one URL, through fsspec. Raises UserError where it cannot be reached."""

    def __init__(self, url: str):
        self.url = url
        scheme, _, self._root = url.partition("://")
        # gcsfs tries gRPC first by default, which emulators and some proxies answer with silence.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        try:
            import fsspec

            # The emulator of google-cloud-storage takes no credentials.
            anonymous = scheme == "gs" and os.environ.get("STORAGE_EMULATOR_HOST")
            self._files = fsspec.filesystem(
                scheme, skip_instance_cache=True, **({"token": "anon"} if anonymous else {})
            )
        except ImportError as error:
            raise UserError(
                f"{url} needs {error.name or 'fsspec'}: pip install -r requirements-cloud.txt"
            ) from error

    def sizes(self) -> dict[str, int]:
        """{path below the URL: bytes}; empty where there is nothing."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # each client has exceptions of its own
            raise UserError(f"{self.url} cannot be listed: {error}") from error
        return {name[len(self._root) + 1 :]: entry["size"] for name, entry in found.items()}

    def get(self, name: str, target: str) -> None:
        """Downloads one file, visible under its name only when it is whole."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = f"{target}.part"
        try:
            self._files.get_file(f"{self._root}/{name}", temporary)
        except Exception as error:
            raise UserError(f"{self.url}/{name} cannot be read: {error}") from error
        os.replace(temporary, target)

    def put(self, source: str, name: str) -> None:
        self._files.put_file(source, f"{self._root}/{name}")

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}")


def localise(config: Mapping) -> dict:
    """The config with local mirrors in place of URLs, and what it needs fetched."""
    config = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    data = config["data"]
    for key in ("domain", "general"):
        data[key] = tuple(_dataset(entry) for entry in data[key])
    data["mixture"] = _dataset(data["mixture"])
    config["eval"]["extra"] = tuple(
        f"{role}={_dataset(entry)}" if equals else role
        for role, equals, entry in (e.partition("=") for e in config["eval"]["extra"])
    )
    config["init_from"] = fetch_run(config["init_from"])
    if "://" in config["workdir"]:
        several = hosts.detected(os.environ) or (
            "config.distributed" if config["distributed"]["num_processes"] > 1 else ""
        )
        if several:
            raise UserError(
                f"workdir {config['workdir']}: several hosts ({several}) want a directory that all "
                "of them see; mount the bucket (gcsfuse) or use a shared file system"
            )
        url, config["workdir"] = config["workdir"], local_path(config["workdir"])
        _fetch_workdir(url, config["workdir"])
    return config


def _dataset(entry: str) -> str:
    """DIR or DIR#SOURCE, fetched where it is remote."""
    if "://" not in entry:
        return entry
    url, mark, source = entry.partition("#")
    local = local_path(url)
    bucket = Bucket(url)
    sizes = bucket.sizes()
    if not sizes:
        raise UserError(f"{url}: there is no dataset")
    # The manifest last: a fetch that was cut off is no dataset yet.
    names = sorted(sizes, key=lambda name: (name == "manifest.json", name))
    if _fetch(bucket, local, names, sizes) and any(n.endswith(".bin") for n in names):
        try:
            shards.verify(shards.open_dataset(local))
        except UserError as error:
            shutil.rmtree(local)  # so that the next start fetches it again
            raise UserError(f"{url} as fetched is damaged: {error}") from error
    return f"{local}{mark}{source}"


def _fetch(bucket: Bucket, local: str, names: Iterable[str], sizes: Mapping[str, int]) -> int:
    """Downloads what is missing or of another size; JSON always, it is small and may have changed.
    Returns how many other files it got."""
    count = 0
    for name in names:
        target = os.path.join(local, name)
        same = os.path.isfile(target) and os.path.getsize(target) == sizes[name]
        if not same or name.endswith(".json"):
            bucket.get(name, target)
            count += not name.endswith(".json")
    return count


def fetch_run(spec: str) -> str:
    """PATH[@STEP|@best] with a run at a URL fetched into its mirror; other runs unchanged."""
    if "://" not in spec:
        return spec
    path, which = run.parse_spec(spec)
    local = local_path(path)
    _fetch_parent(path, local, which)
    return f"{local}@{which}" if which else local


def fetch_records(url: str) -> str:
    """What a report reads of all runs below a URL, fetched into their mirrors: no checkpoints.

    Returns the local directory. A run that this machine pushed last is newer here and stays.
    """
    local, bucket = local_path(url), Bucket(url)
    sizes = bucket.sizes()
    runs = [os.path.dirname(name) for name in sizes if os.path.basename(name) == run.CONFIG]
    mine = {name for name in runs if _pushed_last(bucket, os.path.join(local, name), name, sizes)}
    wanted = []
    for name in sizes:
        owner = next((r for r in runs if name.startswith(f"{r}/" if r else "")), None)
        small = name.endswith((".json", ".jsonl", ".npz")) and run.CHECKPOINTS not in name
        if small and os.path.basename(name) != MARKER and owner not in mine:
            wanted.append(name)
    _fetch(bucket, local, wanted, sizes)
    return local


def _pushed_last(bucket: Bucket, local: str, below: str, sizes: Mapping[str, int]) -> bool:
    """Whether the workdir that the bucket holds at `below` was last pushed from this machine."""
    marker, name = os.path.join(local, MARKER), f"{below}/{MARKER}".lstrip("/")
    if not os.path.isfile(marker) or name not in sizes:
        return False
    bucket.get(name, f"{marker}.remote")
    theirs = lineage.read_json(f"{marker}.remote", what=bucket.url)
    os.remove(f"{marker}.remote")
    return lineage.read_json(marker, what=bucket.url).get("owner") == theirs["owner"]


def _fetch_parent(url: str, local: str, which: str) -> None:
    bucket = Bucket(url)
    sizes = bucket.sizes()
    if run.CONFIG not in sizes:
        raise UserError(f"there is no run at {url}")
    _fetch(bucket, local, [name for name in _RUN_FILES if name in sizes], sizes)
    if which.isdecimal():
        steps = [int(which)]
    elif which == "best":
        steps = [int(name.split("/")[1]) for name in sizes if name.endswith(integrity.MANIFEST)]
    else:
        done = run.finished(local)
        steps = [done["step"]] if done else []
    wanted = []
    for name in sizes:
        parts = name.split("/")
        of_step = parts[0] == run.CHECKPOINTS and len(parts) > 2 and int(parts[1]) in steps
        if parts[0] == run.EVALUATIONS or of_step:
            wanted.append(name)
    _fetch(bucket, local, wanted, sizes)


def _fetch_workdir(url: str, local: str) -> None:
    """Makes the mirror what the bucket holds, unless this machine itself pushed last."""
    bucket = Bucket(url)
    sizes = bucket.sizes()
    if MARKER not in sizes or _pushed_last(bucket, local, "", sizes):
        return
    shutil.rmtree(local, ignore_errors=True)
    _fetch(bucket, local, sizes, sizes)


class Mirror:
    """Pushes a workdir to its bucket; does nothing for a workdir that has none."""

    def __init__(self, workdir: str):
        self._workdir = workdir
        self._url = url_of(workdir)
        self._bucket = Bucket(self._url) if self._url else None
        self._marker = {"owner": uuid.uuid4().hex, "pushes": 0}
        self._pushed: dict[str, tuple[int, int]] = {}

    def push(self) -> None:
        """Uploads what changed and removes steps that are gone. Raises StorageFailure."""
        if self._bucket is None:
            return
        try:
            self._push()
        except Exception as error:
            raise exits.StorageFailure(
                f"{self._url} cannot be written ({type(error).__name__}: {error}); all that is "
                f"missing there is in {self._workdir}"
            ) from error

    def _push(self) -> None:
        self._marker["pushes"] += 1
        lineage.write_json(os.path.join(self._workdir, MARKER), self._marker)
        local = {}
        for root, _, names in os.walk(self._workdir):
            for name in names:
                path = os.path.join(root, name)
                local[os.path.relpath(path, self._workdir)] = path
        kept = {name: path for name, path in local.items() if _travels(name, self._workdir)}
        for name in sorted(kept, key=_order):
            status = os.stat(kept[name])
            state = status.st_size, status.st_mtime_ns
            if self._pushed.get(name) != state:
                self._bucket.put(kept[name], name)
                self._pushed[name] = state
        remote = self._bucket.sizes()
        gone = [n for n in remote if n.startswith(f"{run.CHECKPOINTS}/") and n not in kept]
        # The manifest first: from then on the step is none.
        for name in sorted(gone, key=lambda name: not name.endswith(integrity.MANIFEST)):
            self._bucket.remove(name)


def _travels(name: str, workdir: str) -> bool:
    """Whether a file belongs in the bucket: no lease, no half-written file, no unfinished step."""
    parts = name.split(os.sep)
    if name == "lease.json" or name.endswith((".tmp", ".part")):
        return False
    if parts[0] != run.CHECKPOINTS:
        return True
    step = os.path.join(workdir, *parts[:2])
    return len(parts) > 2 and integrity.is_committed(step)


def _order(name: str) -> tuple:
    """Files of steps, their manifests, the rest, finished.json, and the marker last."""
    last = (MARKER, run.FINISHED)
    rank = 4 - last.index(name) if name in last else 2
    if name.startswith(run.CHECKPOINTS):
        rank = 1 if name.endswith(integrity.MANIFEST) else 0
    return rank, name
