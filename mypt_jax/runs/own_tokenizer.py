"""A run's tokenizer: one of ours by its name, a Hugging Face one as a copy inside the run.

The copy makes a run whole: it can be moved, and used where the folder that it was made from is
gone. With the tokenizer lies what else its model came with (chat template, generation config).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from data_pipeline import atomic, digests
from data_pipeline.errors import UserError
from data_pipeline.tokens import tokenizer as tokenizers

DIRECTORY = "tokenizer"  # in the run's
_FILE = "tokenizer.json"
FILES = (_FILE, "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
FILES += ("tokenizer.model", "added_tokens.json", "generation_config.json", "chat_template.jinja")
FILES += ("chat_template.json",)
ORIGIN = "model_config.json"  # config.json of the model that the tokenizer came with
_FOLDER = "hf:"


def copy(source: str, target: str) -> None:
    """Copies the files of a tokenizer, or of a model's folder, that are there. Raises OSError."""
    for name, to in (*zip(FILES, FILES, strict=True), ("config.json", ORIGIN), (ORIGIN, ORIGIN)):
        path = os.path.join(source, name)
        if os.path.isfile(path):
            os.makedirs(target, exist_ok=True)
            shutil.copyfile(path, os.path.join(target, to))


def keep(workdir: str, name: str, *, parent: str = "") -> None:
    """Puts the tokenizer `name` of a new run into it where it is a folder, and what its parent's
    came with; what is there stays."""
    inside = os.path.join(workdir, DIRECTORY)
    if os.path.isdir(inside):
        return
    staging = f"{inside}{atomic.PARTIAL}"
    shutil.rmtree(staging, ignore_errors=True)  # of a start that was killed here
    if parent:
        copy(os.path.join(parent, DIRECTORY), staging)
    if name.startswith(_FOLDER):
        copy(name.removeprefix(_FOLDER), staging)
    if os.path.isdir(staging):
        atomic.sync_tree(Path(staging))
        os.rename(staging, inside)


def chat_template(place: str) -> str:
    """The program that writes conversations for the model of a run or folder, "" for none."""
    for directory in (os.path.join(place, DIRECTORY), place):
        try:
            with open(os.path.join(directory, "chat_template.jinja"), encoding="utf-8") as file:
                return file.read()
        except (OSError, ValueError):
            pass
        try:
            with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as file:
                found = json.load(file).get("chat_template")
        except (OSError, ValueError, RecursionError, AttributeError):
            continue
        if isinstance(found, list):  # several, of which one is for what is not said otherwise
            named = [one for one in found if isinstance(one, dict)]
            found = next((one.get("template") for one in named if one.get("name") == "default"), "")
        if isinstance(found, str) and found:
            return found
    return ""


def name_of(run: str, config: Mapping) -> str:
    """What the tokenizer of a run is called: its own copy where it has one."""
    name = config["data"]["tokenizer"]
    inside = os.path.join(run, DIRECTORY)
    has_own = name.startswith(_FOLDER) and os.path.isfile(os.path.join(inside, _FILE))
    return f"{_FOLDER}{inside}" if has_own else name


def of(run: str, config: Mapping, record: Mapping) -> tokenizers.Tokenizer:
    """The tokenizer of a run, with the BOS that its documents begin with. Raises UserError where it
    is not the one of its lineage."""
    found, recorded = tokenizers.get(name_of(run, config)), record["tokenizer"]
    if found.sha256 != recorded["sha256"]:
        raise UserError(
            f"run {run} was trained with tokenizer {recorded['name']} "
            f"({recorded['sha256'][:12]}), found {found.name} ({found.sha256[:12]}): restore that "
            "tokenizer"
        )
    return found.beginning(has_bos(record, found))


def recorded_as(vocabulary: tokenizers.Tokenizer) -> dict:
    """What a lineage keeps of a run's tokenizer; bos is None where its documents begin without."""
    identity = {"name": vocabulary.name, "sha256": vocabulary.sha256}
    # A tokenizer without such a token leaves no choice.
    return identity | ({} if vocabulary.bos is None else {"bos": vocabulary.document_bos})


def has_bos(record: Mapping, vocabulary: tokenizers.Tokenizer) -> bool:
    """Whether the documents of a run begin with BOS: of an import, as its model was given texts."""
    recorded = record["tokenizer"]
    if vocabulary.bos == vocabulary.eot:  # no dataset has it twice
        return vocabulary.adds_bos
    if "bos" in recorded:
        return recorded["bos"] is not None
    is_imported = not (record["ancestors"] or record["data"].get("sources"))
    return is_imported and vocabulary.adds_bos


def are_same(run: str, before: str, now: str) -> bool:
    """Whether two names are of one tokenizer: a run's own copy, and a folder with the same file."""
    if before == now or not (before.startswith(_FOLDER) and now.startswith(_FOLDER)):
        return before == now
    paths = [os.path.join(run, DIRECTORY, _FILE), os.path.join(now.removeprefix(_FOLDER), _FILE)]
    return all(map(os.path.isfile, paths)) and len({*map(digests.sha256, paths)}) == 1
