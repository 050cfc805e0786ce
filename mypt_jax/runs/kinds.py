"""What the JSON files of a run hold, as far as any reader relies on it; more keys are welcome.

A kind is a Value, a dict of kinds by key (`"key?"`: may be missing), `{str: kind}` for any keys, or
a list of one kind for each of its entries.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple


class Value(NamedTuple):
    words: str  # what is wanted, for the user
    fits: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _is_number(value: Any) -> bool:
    return _is_int(value) or type(value) is float and math.isfinite(value)


def _is_text(value: Any) -> bool:
    try:  # a path on a disk may hold bytes that are no UTF-8
        return isinstance(value, str) and b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _is_share(value: Any) -> bool:
    try:
        return _is_number(value) or isinstance(value, str) and Fraction(value) >= 0
    except (ValueError, ZeroDivisionError):
        return False


COUNT = Value("a whole number of at least 0", lambda value: _is_int(value) and value >= 0)
NUMBER = Value("a number", _is_number)
TEXT = Value("a text", _is_text)
WHOLE = Value("a whole number", _is_int)
FLAG = Value("true or false", lambda value: isinstance(value, bool))
OBJECT = Value("an object", lambda value: isinstance(value, dict))


SHARE = Value('a share such as "1/5"', _is_share)


class Schema(NamedTuple):
    number: int


class OrNull(NamedTuple):
    kind: Any


def fault(value: Any, kind: Any, name: str = "") -> str:
    """How `value`, called `name`, differs from its kind; "" where it does not."""
    if isinstance(kind, OrNull):
        return "" if value is None else fault(value, kind.kind, name)
    if isinstance(kind, Schema):
        if value == kind.number and _is_int(value):
            return ""
        age = "a later" if _is_int(value) and value > kind.number else "another"
        return f"has schema {value!r}, this version reads {kind.number}: it is of {age} version"
    if isinstance(kind, Value):
        return "" if kind.fits(value) else _misfit(value, kind.words, name)
    if isinstance(kind, list):
        if not isinstance(value, list):
            return _misfit(value, "a list", name)
        named = ((entry, kind[0], f"{name}[{i}]") for i, entry in enumerate(value))
    else:
        if not isinstance(value, dict):
            return _misfit(value, "an object", name)
        missing = next((key for key in kind if key is not str and not _is_in(key, value)), "")
        if missing:
            return f"has no {f'{name}.{missing}'.lstrip('.')!r}: damaged, or of another program"
        named = (
            (entry, wanted, f"{name}.{key}".lstrip("."))
            for key, entry in value.items()
            if (wanted := kind.get(key, kind.get(f"{key}?", kind.get(str)))) is not None
        )
    return next(filter(None, (fault(*one) for one in named)), "")


def _is_in(key: str, value: dict) -> bool:
    return key.endswith("?") or key in value


def _misfit(value: Any, wanted: str, name: str) -> str:
    got = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    got = got if len(got) <= 40 else f"{got[:37]}..."
    return f"has {name or 'a whole'} = {got}, wanted {wanted}: damaged, or of another program"


LOSSES = {str: NUMBER}  # {"domain": .., "general/wiki": ..} in nats/token

FINISHED = {
    "step": COUNT,
    "run_id?": TEXT,
    "params_sha256": TEXT,
    "wall_secs?": NUMBER,
    "eval?": LOSSES,
    "report?": LOSSES,
    "goodput?": OBJECT,
    "rolled_back_from?": COUNT,
}

GOODPUT = {
    "schema?": Schema(1),
    "starts": [{"started": NUMBER, "ended": NUMBER, "done": COUNT, "secs": {str: NUMBER}}],
}

MIRROR = {"owner": TEXT}

CONFIG = {
    "stage": TEXT,
    "size": TEXT,
    "workdir": TEXT,
    "init_from": TEXT,
    "seed": WHOLE,
    "num_steps": COUNT,
    "batch_size": COUNT,
    "model": {"block_size": COUNT},
    "data": {"replay_ratio": NUMBER},
    "optim": {"peak_lr": NUMBER},
    "guard": {"max_forgetting": NUMBER},
    "checkpoint": {"keep_optimizer": FLAG},
}

_SOURCE = {
    "dataset": TEXT,
    "share": SHARE,
    "fingerprint": TEXT,
    "licence": TEXT,
    "train_fingerprint?": TEXT,
    "first_window?": COUNT,
    "windows?": COUNT,
}
_PARENT = {"path": TEXT, "stage": TEXT, "step": COUNT, "params_sha256": TEXT}
_SEGMENT = {"seed": WHOLE, "key": TEXT, "windows": COUNT, "version": COUNT}
_ANCESTOR: dict = {
    **_PARENT,
    "run_id?": OrNull(TEXT),
    "tokens_by_source": {str: COUNT},
    "data_fingerprint?": TEXT,
    "peak_lr": NUMBER,
    "replay_ratio": NUMBER,
    "eval": LOSSES,
    "licences?": {str: TEXT},
    "config": CONFIG,
}
# Of an import: the run that it was made from elsewhere, and the ancestors of that.
_ANCESTOR["origin?"] = [_ANCESTOR]
# Of a merged run: what it is the sum of, and their ancestors after the last that all share.
_MERGED = {**_ANCESTOR, "weight": NUMBER, "since": [_ANCESTOR]}
_MERGED["merged_from?"] = _ANCESTOR["merged_from?"] = [_MERGED]

RECORD: dict[str, Any] = {
    "schema": Schema(1),
    "stage": TEXT,
    "size?": TEXT,
    "run_id": TEXT,
    "created": TEXT,
    "parent": OrNull(_PARENT),
    "ancestors": [_ANCESTOR],
    "merged_from?": [_MERGED],
    "origin?": _ANCESTOR["origin?"],
    "data": {
        "fingerprint?": TEXT,
        "order?": COUNT,
        "sources?": {str: _SOURCE},
        "changed?": {"step": COUNT, "windows": {str: COUNT}, "licences": {str: TEXT}},
    },
    "tokenizer": {"name": TEXT, "sha256": TEXT, "bos?": OrNull(COUNT)},
    "tokens_by_source": {str: COUNT},
    "drawn?": {str: [_SEGMENT]},
    "baseline": OrNull(
        {"stage": TEXT, "path": TEXT, "step": COUNT, "eval": LOSSES, "from?": {str: TEXT}}
    ),
    "numerics?": OBJECT,
    "eval_plan?": COUNT,
    "first_lr?": NUMBER,
    "rewarm?": {"after": COUNT, "steps": COUNT},
    "frozen?": {"path": TEXT, "step": COUNT, "digest": TEXT},
    "teacher?": {"path": TEXT, "step": COUNT, "digest": TEXT},
    "notes": [TEXT],
}

LINE = {"schema": Schema(1), "toward": _PARENT, "points": [{"at": NUMBER}]}

# What a directory of mypt adapt was begun with: paths, "" for none; without what is not there yet.
ADAPTED = {"schema": Schema(1), "out_dir": TEXT, "base": TEXT, "text?": TEXT, "general?": TEXT}

SAMPLES = {str: {str: TEXT}}

_RECITED: dict[str, Any] = {
    **{"data": TEXT, "split": TEXT, "who": TEXT},
    **{"documents": COUNT, "exact": COUNT, "matched": NUMBER, "examples": [TEXT]},
}
RECITED = {"schema": Schema(1), "run_id": TEXT, "step": COUNT, "tokens": COUNT, "rows": [_RECITED]}

# Of a checkpoint's arrays; a step of a run has its lineage beside them.
META = {"lineage?": RECORD, "tree": {"params": OBJECT, "rest": OBJECT}}
STEP_META = {**META, "lineage": RECORD}
