"""The text of a stage, opened: what it is trained and evaluated on, and if that fits its model."""

import math
import os
from collections.abc import Collection

from data_pipeline.batches import mixture as mixtures
from data_pipeline.errors import UserError
from data_pipeline.tokens import mypt_format
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.schema import together


def open_data(
    config: dict, overridden: Collection[str] = ()
) -> tuple[mixtures.Mixture, list[mixtures.Component], list[mixtures.Component]]:
    """(what a config is trained and evaluated on, data.elsewhere, eval.extra). Raises UserError."""
    mixture = _open_mixture(config, overridden)
    elsewhere = list(mixtures.components_of("elsewhere", config["data"]["elsewhere"]))
    return mixture, elsewhere, _open_extra(config["eval"]["extra"])


def open_view(data: dict, overridden: Collection[str]) -> mixtures.Mixture:
    """Opens data.mixture, which decides data.replay_ratio; UserError if an override differs."""
    mixture = mixtures.from_manifest(data["mixture"])
    given, ratio = data["replay_ratio"], float(mixture.replay_ratio)
    if "data.replay_ratio" in overridden and not math.isclose(given, ratio):
        raise UserError(
            f"data.replay_ratio {given} differs from the {ratio:g} of "
            f"data.mixture={data['mixture']}; leave one of the two out"
        )
    data["replay_ratio"] = ratio
    return mixture


def _open_mixture(config: dict, overridden: Collection[str]) -> mixtures.Mixture:
    data = config["data"]
    if data["mixture"]:
        return open_view(data, overridden)
    _check_directories(data)
    return mixtures.build(
        domain=data["domain"],
        general=data["general"],
        domain_weights=data["domain_weights"],
        general_weights=data["general_weights"],
        replay_ratio=data["replay_ratio"],
    )


def _check_directories(data: dict) -> None:
    """Raises UserError that names the command which makes a missing default dataset."""
    for role in mixtures.GIVEN_ROLES:
        for entry in data[role]:
            directory = entry.partition("#")[0]
            if "://" in directory or os.path.exists(directory):
                continue
            hint = _made_by(directory, role)
            if role == "domain" and data["replay_ratio"] == 1:
                hint += '; --config.data.domain="()" trains without evaluating on it'
            raise UserError(f"data.{role}: there is no {directory}; {hint}")


def _made_by(directory: str, role: str) -> str:
    if os.path.dirname(os.path.normpath(directory)) == os.path.join("data", "demo"):
        return "make the demo's datasets with: python -m mypt_jax demo"
    return (
        "make it with: python -m mypt_jax prepare --source NAME:FILES "
        f"--total_tokens N --out_dir {directory}  (docs/guide.md), or set --config.data.{role}=DIR"
    )


def check_extra(entries: tuple[str, ...]) -> None:
    """Raises UserError for an entry of eval.extra that is not ROLE=DIR."""
    for entry in entries:
        role, _, directory = entry.partition("=")
        if not directory or role not in mixtures.ROLES:
            raise UserError(f"eval.extra has {entry!r}, wanted domain=DIR or general=DIR")


def _open_extra(entries: tuple[str, ...]) -> list[mixtures.Component]:
    check_extra(entries)
    components = []
    for entry in entries:
        role, _, directory = entry.partition("=")
        components += mixtures.components_of(role, (directory,))
    return components


def check_elsewhere(elsewhere: list[mixtures.Component], mixture: mixtures.Mixture) -> None:
    """Raises UserError for a source of data.elsewhere that is trained on."""
    trained = {
        (one.dataset.fingerprint, one.source): one for one in mixture.components if one.share
    }
    for one in elsewhere:
        same = trained.get((one.dataset.fingerprint, one.source))
        if same is not None:
            raise UserError(
                f"data.elsewhere has {one.dataset.path}#{one.source}, which is trained on as "
                f"{same.key}: it is for text of kinds that are never trained on"
            )


def samples_note(components: list[mixtures.Component]) -> list[str]:
    """A line where what is forgotten can only be told by what a model wrote itself."""
    roles = {one.evaluated_as for one in components if one.data.tokens["val"]}
    if mixtures.BEHAVIOUR not in roles or "general" in roles:
        return []
    return [
        "warning: no general text is held out, so forgetting is not known, only how far the model "
        "leaves its base's own words (behaviour); give real text as eval.extra=('general=DIR',)"
    ]


def tokenizer_of(config: dict, components: list[mixtures.Component]) -> tokenizers.Tokenizer:
    """The config's tokenizer, for documents such as the datasets have. Raises UserError where their
    ids are of another."""
    tokenizer = together.tokenizer(config)
    vocab_size = config["model"]["vocab_size"]
    for component in components:
        dataset = component.dataset
        if dataset.tokenizer_sha256 != tokenizer.sha256:
            raise UserError(
                f"dataset {dataset.path} was made with tokenizer {dataset.tokenizer} "
                f"({dataset.tokenizer_sha256[:12]}), the config has {tokenizer.name} "
                f"({tokenizer.sha256[:12]}); prepare it again or set data.tokenizer"
            )
        dataset.check_ids(tokenizer)
        if dataset.storage != mypt_format.STORAGE and dataset.max_id >= vocab_size:
            raise UserError(
                f"dataset {dataset.path} holds token id {dataset.max_id}, "
                f"model.vocab_size is {vocab_size}"
            )
    mixtures.check_alike(components)
    return tokenizer.beginning(any(one.dataset.bos is not None for one in components))


def domain_tokens(mixture: mixtures.Mixture) -> int:
    """Train tokens of what is called domain: an epoch of it."""
    parts = [c for c in mixture.components if c.role == "domain"]
    return sum(c.dataset.sources[c.source].tokens["train"] for c in parts)
