"""What a checkpoint knows about its ancestors: plain dictionaries, written as JSON.

A lineage record holds the parent, every ancestor with what it was trained on and how it ended, the
data of this run, tokens seen per source so far, the windows that the ancestors drew of each text
(`drawn`), and the base stage's evaluation (`baseline`) against which forgetting is measured.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np

from data_pipeline import atomic
from data_pipeline.errors import UserError
from mypt_jax import redact
from mypt_jax.runs import kinds

FILE = "lineage.json"
CHANGED = "changed"  # of a record's data
ABOVE = ("ancestors", "merged_from", "since")  # lists of what a run came from


def params_sha256(params: Mapping) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters, ordered by name."""
    digest = hashlib.sha256()
    # By name: the order of a tree is that of the code that built it.
    for name, array in sorted(flatten(params).items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def flatten(tree: Mapping, prefix: str = "") -> dict:
    """{"a": {"b": x}} -> {"a/b": x}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(old: Mapping, new: Mapping) -> dict[str, list]:
    """{"a/b": [before, now]} of values that differ; a tuple equals the list JSON makes of it."""
    # As JSON has them: one side was read from a file, the other was not.
    old, new = flatten(_as_json(old)), flatten(_as_json(new))
    return {
        key: [old.get(key), new.get(key)]
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    }


def _as_json(value):
    if isinstance(value, Mapping):
        return {key: _as_json(entry) for key, entry in value.items()}
    return [_as_json(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def new(*, config: Mapping, run_id: str, created: str, data: dict, tokenizer: dict) -> dict:
    """The lineage of a run that starts from scratch."""
    return {
        "schema": kinds.RECORD["schema"].number,
        "stage": config["stage"],
        "size": config["size"],
        "run_id": run_id,
        "created": created,
        "parent": None,
        "ancestors": [],
        "data": data,
        "tokenizer": tokenizer,
        "tokens_by_source": {},
        "drawn": {},
        "baseline": None,
        "notes": [],
    }


def as_ancestor(
    record: Mapping, config: Mapping, *, path: str, step: int, digest: str, losses: Mapping
) -> dict:
    """What descendants keep of the run at `path`, at `step`; `losses`: of its evaluation there,
    {name: nats/token}, may be empty."""
    return {
        "stage": record["stage"],
        "path": path,
        "step": step,
        "run_id": record.get("run_id"),
        "params_sha256": digest,
        "tokens_by_source": record["tokens_by_source"],
        "data_fingerprint": record["data"].get("fingerprint", ""),
        "peak_lr": config["optim"]["peak_lr"],
        "replay_ratio": config["data"]["replay_ratio"],
        "eval": dict(losses),
        "licences": licences(record),
        "config": config,
        # Of a merged run, and of an import whose origin is known.
        **{key: record[key] for key in ("merged_from", "origin") if key in record},
    }


def licences(record: Mapping) -> dict[str, str]:
    """{source: licence} of what a run itself was trained on; "" where none was stated."""
    found = {key: one["licence"] for key, one in record["data"].get("sources", {}).items()}
    for key, licence in changed(record)["licences"].items():
        now = found.get(key, licence)
        found[key] = licence if now == licence else f"{licence} AND {now}"
    return found


def changed(record: Mapping) -> dict:
    """What a run had been trained on when it went on with other data: {"step", "windows": {source:
    of them}, "licences"}; of most runs nothing, at step 0."""
    return record["data"].get(CHANGED) or {"step": 0, "windows": {}, "licences": {}}


def child_of(parent: Mapping, record: dict, own: Mapping, *, drawn: dict) -> dict:
    """`record` with its parent: the run whose lineage is `parent`, and which is `own` to its
    descendants (as_ancestor). `drawn`: what the parent and its ancestors drew (drawn.table)."""
    # Inherited: forgetting is measured against the first of the line, whatever was trained since.
    baseline = parent["baseline"]
    if baseline is None and own["eval"]:
        baseline = {key: own[key] for key in ("stage", "path", "step", "eval")}
    return {
        **record,
        "parent": identity(own),
        "ancestors": [*parent["ancestors"], own],
        "drawn": drawn,
        "baseline": baseline,
    }


def identity(ancestor: Mapping) -> dict:
    """Of an ancestor what says which run and step it is."""
    return {key: ancestor[key] for key in ("path", "stage", "step", "params_sha256")}


def count_windows(record: dict, counts: Mapping[str, int], block_size: int) -> None:
    """Writes into the lineage what was drawn so far: `counts` windows of each source, since its
    data was changed."""
    earlier = changed(record)["windows"]
    record["tokens_by_source"] = {
        key: (earlier.get(key, 0) + int(counts.get(key, 0))) * block_size
        for key in {**earlier, **counts}
    }
    for key, entry in record["data"]["sources"].items():
        entry["windows"] = int(counts[key])


def total_tokens_by_source(record: Mapping) -> dict[str, int]:
    """Tokens seen per source by this run and all its ancestors, those of merged runs once each."""
    total: dict[str, int] = {}
    above = {(one["path"], one["step"], one["params_sha256"]): one for one in all_above(record)}
    for tokens_by_source in [one["tokens_by_source"] for one in (*above.values(), record)]:
        for key, tokens in tokens_by_source.items():
            total[key] = total.get(key, 0) + tokens
    return total


def all_above(record: Mapping) -> Iterator[Mapping]:
    """The ancestors of a run, and where it or one of them was merged those of what it was merged
    from."""
    for name in ABOVE:
        for one in record.get(name, ()):
            yield one
            yield from all_above(one)


def read_json(path: str, *, what: str, wanted: Mapping) -> dict:
    """A JSON object from a file, of the kind `wanted`. Raises UserError that names the file."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise UserError(f"{what}: {path} does not exist") from None
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read: {error.strerror}") from None
    return parse_json(data, path, what=what, wanted=wanted)


def parse_json(data: bytes, path: str, *, what: str, wanted: Mapping) -> dict:
    """read_json of what was read from `path`."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: {path} cannot be read as JSON: {error}") from None
    if reason := kinds.fault(value, wanted):
        raise UserError(f"{what}: {path} {reason}")
    return value


def write_json(path: str, value: Mapping) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never a half, nor a secret."""
    with atomic.replacing(path) as file:
        file.write(json.dumps(redact.tree(value), indent=1, allow_nan=False).encode() + b"\n")
