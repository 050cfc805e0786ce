"""gs:// and s3:// paths of a config, worked on in local mirrors (bucket.py says where they are).

Datasets and parents are fetched once by every machine and verified by their own manifests. A
workdir is mirror.py's: here only what the checks before the start read of it is fetched.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards, verification
from mypt_jax.runs import evaluations, integrity, layout, lineage, own_tokenizer
from mypt_jax.storage import mirror
from mypt_jax.storage.bucket import Bucket, local_path, locked, url_of

# Read as an ancestor: everything but optimizer state and steps that init_from does not name.
_RUN_FILES = (layout.CONFIG, lineage.FILE, layout.FINISHED, layout.METRICS)


def expand_home(config: Mapping) -> dict:
    """The config with ~ expanded in every path on this machine, which a shell leaves as it is."""
    return _placed(config, os.path.expanduser, os.path.expanduser, os.path.expanduser)


def localise(config: Mapping) -> dict:
    """The config with local mirrors in place of URLs, and what it needs fetched."""
    return _placed(expand_home(config), _dataset, fetch_run, _workdir)


def local_names(config: Mapping) -> dict:
    """The config with local mirrors in place of URLs, as its run records it; nothing is fetched."""
    return _placed(expand_home(config), _local_name, _local_name, local_path)


def _placed(config: Mapping, dataset: Callable, parent: Callable, workdir: Callable) -> dict:
    """The config with its paths as these functions give them."""
    config = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    data, evaluation = config["data"], config["eval"]
    for key in ("domain", "general", "elsewhere"):
        data[key] = tuple(dataset(entry) for entry in data[key])
    data["mixture"] = dataset(data["mixture"])
    evaluation["extra"] = tuple(
        f"{role}{equals}{dataset(entry)}"
        for role, equals, entry in (e.partition("=") for e in evaluation["extra"])
    )
    config["init_from"] = parent(config["init_from"])
    config["workdir"] = workdir(config["workdir"])
    return config


def _workdir(path: str) -> str:
    return mirror.prepare(path) if "://" in path else path


def _local_name(entry: str) -> str:
    """DIR, DIR#SOURCE or RUN@STEP below its mirror."""
    path = re.split("[#@]", entry, maxsplit=1)[0]
    rest = entry[len(path) :]
    return f"{local_path(path)}{rest}" if "://" in path else entry


def _dataset(entry: str) -> str:
    """DIR or DIR#SOURCE, fetched where it is remote."""
    if "://" not in entry:
        return entry
    url, mark, source = entry.partition("#")
    local = local_path(url)
    bucket = Bucket(url)
    with locked(local):
        objects = bucket.objects()
        if not objects:
            raise UserError(f"{url}: there is no dataset")
        # The manifest last: a fetch that was cut off is no dataset yet.
        tokens = [name for name in objects if name != "manifest.json"]
        new = bucket.fetch(local, tokens, objects)
        bucket.fetch(local, [name for name in objects if name == "manifest.json"], objects)
        if new and any(name.endswith(".bin") for name in tokens):
            try:
                verification.verify(shards.open_dataset(local))
            except UserError as error:
                shutil.rmtree(local)  # so that the next start fetches it again
                raise UserError(f"{url} as fetched is damaged: {error}") from error
    return f"{local}{mark}{source}"


def fetch_run(spec: str) -> str:
    """PATH[@STEP|@best] with a run at a URL fetched into its mirror; other runs where they are."""
    if "://" not in spec:
        return os.path.expanduser(spec)
    path, which = layout.parse_spec(spec)
    local = local_path(path)
    with locked(local):
        _fetch_parent(path, local, which)
    return f"{local}@{which}" if which else local


def check_run(spec: str) -> None:
    """Raises UserError for a run on this disk that is missing or has no such step; of one at a URL
    nothing is asked yet."""
    if "://" not in spec:
        layout.resolve_step(os.path.expanduser(spec))


def fetch_records(url: str) -> str:
    """What a report reads of all runs below a URL, fetched into their mirrors: no checkpoints.

    Returns the local directory. A run whose newest mirror is here stays as it is.
    """
    local, bucket = local_path(url), Bucket(url)
    objects = bucket.objects()
    runs = [os.path.dirname(name) for name in objects if os.path.basename(name) == layout.CONFIG]
    mine = {name for name in runs if mirror.is_newest(bucket, os.path.join(local, name), name)}
    wanted = []
    for name in objects:
        owner = next((r for r in runs if name.startswith(f"{r}/" if r else "")), None)
        small = name.endswith((".json", ".jsonl", ".npz")) and layout.CHECKPOINTS not in name
        if small and os.path.basename(name) != mirror.MARKER and owner not in mine:
            wanted.append(name)
    bucket.fetch(local, wanted, objects)
    return local


def _fetch_parent(url: str, local: str, which: str) -> None:
    bucket = Bucket(url)
    objects = bucket.objects()
    if layout.CONFIG not in objects:
        raise UserError(f"there is no run at {url}")
    bucket.fetch(local, [name for name in _RUN_FILES if name in objects], objects)
    if which.isdecimal():
        steps = [int(which)]
    elif which == "best":
        steps = [int(name.split("/")[1]) for name in objects if name.endswith(integrity.MANIFEST)]
    else:
        done = layout.finished(local)
        steps = [done["step"]] if done else []
    wanted = []
    for name in objects:
        parts = name.split("/")
        of_step = parts[0] == layout.CHECKPOINTS and len(parts) > 2 and int(parts[1]) in steps
        if parts[0] in (layout.EVALUATIONS, own_tokenizer.DIRECTORY) or of_step:
            wanted.append(name)
    manifests = [name for name in wanted if name.endswith(f"/{integrity.MANIFEST}")]
    bucket.fetch(local, [name for name in wanted if name not in manifests], objects)
    bucket.fetch(local, manifests, objects)
    if os.path.isfile(layout.join(local, lineage.FILE)):
        _fetch_evaluations(layout.record(local))


def _fetch_evaluations(record: Mapping) -> None:
    """What older ancestors were measured at, and the base by them, where it is not here."""
    for ancestor in record["ancestors"]:
        url, path = url_of(ancestor["path"]), ancestor["path"]
        own = layout.eval_file("", ancestor["step"])
        known = os.path.isfile(layout.join(path, lineage.FILE))
        if not url or known and not evaluations.read(layout.join(path, own)).fault:
            continue
        measured = [own, layout.eval_file("", 0), layout.baseline_file("")]
        measured.append(layout.join(layout.EVALUATIONS, integrity.MANIFEST))
        bucket = Bucket(url)
        there = bucket.objects()
        names = [name for name in (*_RUN_FILES, *measured) if name in there]
        bucket.fetch(path, names, there)
