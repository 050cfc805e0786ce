"""Imported weights as a finished `base` run, and what an export needs of a run."""

import datetime
import os
import uuid
from collections.abc import Mapping

from data_pipeline import errors
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import restore, save
from mypt_jax.runs import layout, lineage, own_tokenizer
from mypt_jax.schema import changes, keys, stage_file

_IMPORT_OF = "import of "  # in the place of init_from


def imported_from(config: Mapping) -> str:
    """Where a base run with this config came from; "" for one that was trained here."""
    start = config.get("init_from", "")
    return start.removeprefix(_IMPORT_OF) if start.startswith(_IMPORT_OF) else ""


def check_target(path: str) -> None:
    """Raises UserError when `path` holds anything: an import or export never overwrites."""
    if os.path.isfile(path) or (os.path.isdir(path) and os.listdir(path)):
        raise errors.UserError(f"{path} exists and is not an empty directory: name another one")


def check_new_run(path: str) -> None:
    """Raises UserError where no base run can be written."""
    layout.check_name(path, what="the run")
    check_target(path)


def base_model() -> dict:
    """config.model of the base stage: every key, to be changed by an import."""
    return stage_file.load(stage_file.BASE).to_dict()["model"]


def write(
    workdir: str,
    *,
    params: Mapping,
    settings: Mapping,
    tokenizer_name: str,
    source: str,
    note: str,
    origin: list[Mapping],
) -> None:
    """Writes a finished base run at step 0. Its own training is unknown: peak_lr 0, no tokens.

    `origin`: the run that it was made from elsewhere, with its ancestors (family_of).
    """
    tokenizer = tokenizers.get(tokenizer_name)
    if tokenizer.vocab_size > settings["vocab_size"]:
        raise errors.UserError(
            f"{source}: tokenizer {tokenizer_name} has {tokenizer.vocab_size} ids, the model "
            f"{settings['vocab_size']}: it belongs to another model"
        )
    config = stage_file.load(stage_file.BASE).to_dict()
    config |= {
        "size": os.path.basename(os.path.normpath(workdir)),
        "workdir": workdir,
        "init_from": f"{_IMPORT_OF}{source}",
        "num_steps": 0,
        "model": dict(settings),
    }
    config["optim"]["peak_lr"] = 0.0
    config["data"]["tokenizer"] = tokenizer_name
    record = lineage.new(
        config=config,
        run_id=uuid.uuid4().hex[:12],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data={},
        tokenizer=own_tokenizer.recorded_as(tokenizer.beginning(tokenizer.adds_bos)),
    )
    record["notes"] = [note]
    if origin:
        record["origin"] = origin
    save.write_finished_run(workdir, params, config, record)


def family_of(spec: str, *, settings: Mapping, tokenizer_name: str, source: str) -> list[Mapping]:
    """A run with its ancestors, as the origin of what `source` holds; [] for "".

    Raises UserError where it has another architecture or tokenizer.
    """
    if not spec:
        return []
    loaded = restore.load_params(spec)
    imported = {**loaded.config, "model": dict(settings)}
    for key, (theirs, own) in changes.between(loaded.config, imported, keys.ARCHITECTURE).items():
        raise errors.UserError(
            f"--origin={spec} has {key} {theirs}, {source} has {own}: it was made from another "
            "model"
        )
    tokenizer = tokenizers.get(tokenizer_name)
    theirs = loaded.record["tokenizer"]
    if theirs["sha256"] != tokenizer.sha256:
        raise errors.UserError(
            f"--origin={spec} has tokenizer {theirs['name']} ({theirs['sha256'][:12]}), {source} "
            f"has {tokenizer.name} ({tokenizer.sha256[:12]}): it was made from another model"
        )
    itself = layout.as_ancestor(
        loaded.record,
        loaded.config,
        path=loaded.path,
        step=loaded.step,
        digest=lineage.params_sha256(loaded.params),
    )
    return [*loaded.record["ancestors"], itself]


def read(spec: str) -> restore.Loaded:
    """A run to export, with its lineage as it stands: of its result in the run's directory, of an
    earlier step beside that."""
    loaded = restore.load_params(spec)
    if (layout.finished(loaded.path) or {}).get("step") != loaded.step:
        return loaded
    return loaded._replace(record=layout.record(loaded.path))
