"""A command line of the original's train.py, answered with the one that does it here.

Source: MyPT domain adaptation guide, "Reproduction Steps"; docs/guide.md has the table.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from mypt_jax.schema import hints, keys

# By these a command line is known: they are flags there, and none here.
_MARKS = {
    "config_file",
    "dataset_dir",
    "eval_dataset_dir",
    "init_from_model",
    "learning_rate",
    "max_iters",
    "model_name",
    "warmup_iters",
}
_BATCH = 12  # of the guide's eval_iters, in windows
_SIZES, _DEFAULT_SIZE = ("150m", "350m", "750m"), "750m"
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_GENERAL = "data/multilingual_1.5B_wiki90"  # what base trains on, here as there


def answer(arguments: Sequence[str]) -> str:
    """The line that says what to type; "" for a command line that is ours, also with a slip: of a
    stage file that is named, the hint for the one flag leads on, and not to another stage."""
    given = _read(arguments)
    config = given.get("config", "")
    if not config.endswith(".json") and (config or not _MARKS & given.keys()):
        return ""
    words, unanswered = [f"--config={_stage_file(given)}"], []
    for flag, value in given.items():
        found = list(_flags(flag, value, given))
        words += found
        if not found and flag not in _SAID:
            unanswered.append(f"--{flag} ({_WITHOUT[flag]})" if flag in _WITHOUT else f"--{flag}")
    line = shlex.join(["python", "-m", "mypt_jax.main", *words])
    more = f"; without {', '.join(unanswered)}" if unanswered else ""
    return f"these are flags of the original's train.py; here it is: {line}{more}"


# Answered by the stage file, and by --use_amp.
_SAID = {"config", "config_file", "amp_dtype"}
_WITHOUT = {**hints.ELSEWHERE, "save_dtype": "checkpoints hold the master weights"}


def _read(arguments: Sequence[str]) -> dict[str, str]:
    """{flag: value} of --flag VALUE and --flag=VALUE; "" for a bare flag."""
    found: dict[str, str] = {}
    flag = ""
    for argument in arguments:
        if argument.startswith("--"):
            flag, _, value = argument.removeprefix("--").partition("=")
            found[flag] = value
        elif flag:
            found[flag] = argument
    return found


def _stage(given: Mapping[str, str]) -> str:
    """Of domain_v3 v3, of base_750M base; what has no such name begins as v3 does."""
    named = _run(given.get("model_name", ""))
    if named:
        return named
    is_base = "init_from_model" not in given and "domain" not in given.get("config", "")
    return "base" if is_base else "v3"


def _run(name: str) -> str:
    """The stage that a model of the guide is; "" for another."""
    found = re.fullmatch(r"(?:checkpoints/)?(?:domain_(v\d+)|(base)_\w+)/?", name)
    return next(filter(None, found.groups()), "") if found else ""


def _size(given: Mapping[str, str]) -> str:
    """750m of configs/pretrain/750M_1024_domain_adapt.json."""
    found = re.search(r"(\d+)M", given.get("config", "") + given.get("config_file", ""))
    size = f"{found[1]}m" if found else ""
    return size if size in _SIZES else _DEFAULT_SIZE


def _stage_file(given: Mapping[str, str]) -> str:
    size = _size(given)
    return f"configs/{_stage(given)}.py{'' if size == _DEFAULT_SIZE else f':{size}'}"


def _flags(flag: str, value: str, given: Mapping[str, str]) -> Iterator[str]:
    """What stands here for one flag there."""
    runs = f"runs/{_size(given)}"
    if flag == "dataset_dir" and _stage(given) == "base":
        yield "--config.data.domain=()"  # in the guide's order there is none yet
        if value != _GENERAL:
            yield from (f"--config.data.general={value}", "--config.data.general_weights=()")
    elif flag == "dataset_dir":
        yield f"--config.data.mixture={value}"
    elif flag == "eval_dataset_dir":
        yield f"--config.eval.extra=('general={value}',)"
    elif flag == "init_from_model":
        name = value.removeprefix("checkpoints/")
        yield f"--config.init_from={runs}/{_run(value) or name}"
    elif flag == "model_name":
        yield f"--config.workdir={runs}/{_run(value) or value}"
    elif flag == "eval_iters" and value.isdecimal():
        yield f"--config.eval.windows={int(value) * _BATCH}"
    elif flag == "use_amp":
        dtype = given.get("amp_dtype", "bf16")
        yield f"--config.model.compute_dtype={_DTYPES.get(dtype, dtype)}"
    elif flag not in {*_SAID, *_WITHOUT} and value:
        found = sorted(
            (row.name for row in keys.ROWS if flag in (*row.was, row.leaf)), key=flag.__ne__
        )
        yield from [f"--config.{name}={value}" for name in found[:1]]
