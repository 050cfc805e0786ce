"""What a checkpoint knows about its ancestors: plain dictionaries, written as JSON.

A lineage record holds the parent, every ancestor with what it was trained on and how it ended, the
data of this run, tokens seen per source so far, the windows that the ancestors drew of each text
(`drawn`), and the base stage's evaluation (`baseline`) against which forgetting is measured.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from data_pipeline import atomic
from data_pipeline.errors import UserError
from mypt_jax import redact
from mypt_jax.runs import kinds

FILE = "lineage.json"


def params_sha256(params: Mapping) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters, ordered by name."""
    digest = hashlib.sha256()
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


def child_of(
    parent: dict, record: dict, *, path: str, step: int, digest: str, drawn: dict, **facts
) -> dict:
    """`record` with its parent: the run at `path`, whose lineage is `parent`, at `step`.

    `drawn`: what the parent and its ancestors drew (drawn.table). `facts`: the parent's peak_lr,
    replay_ratio, config and eval ({name: nats/token}, may be empty).
    """
    own = {
        "stage": parent["stage"],
        "path": path,
        "step": step,
        "run_id": parent.get("run_id"),
        "params_sha256": digest,
        "tokens_by_source": parent["tokens_by_source"],
        "data_fingerprint": parent["data"].get("fingerprint", ""),
        **facts,
    }
    baseline = parent["baseline"]
    if baseline is None and facts["eval"]:
        baseline = {"stage": parent["stage"], "path": path, "step": step, "eval": facts["eval"]}
    return {
        **record,
        "parent": {key: own[key] for key in ("path", "stage", "step", "params_sha256")},
        "ancestors": [*parent["ancestors"], own],
        "drawn": drawn,
        "baseline": baseline,
    }


def count_windows(record: dict, counts: Mapping[str, int], block_size: int) -> None:
    """Writes into the lineage what was drawn so far: `counts` windows of each source."""
    record["tokens_by_source"] = {key: int(n) * block_size for key, n in counts.items()}
    for key, entry in record["data"]["sources"].items():
        entry["windows"] = int(counts[key])


def total_tokens_by_source(record: dict) -> dict[str, int]:
    """Tokens seen per source by this run and all its ancestors."""
    total: dict[str, int] = {}
    for seen in [a["tokens_by_source"] for a in record["ancestors"]] + [record["tokens_by_source"]]:
        for key, tokens in seen.items():
            total[key] = total.get(key, 0) + tokens
    return total


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


def write_json(path: str, value: dict) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never a half, nor a secret."""
    with atomic.replacing(path) as file:
        file.write(json.dumps(redact.tree(value), indent=1, allow_nan=False).encode() + b"\n")
