"""Which sources a stage trains on, in which exact shares; no text is trained and evaluated on."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import shards

ROLES = ("domain", "general")
# Those, and general text of kinds that are never replayed: the keys of `data` that name datasets.
GIVEN_ROLES = (*ROLES, "elsewhere")
# What the base writes itself (mypt sample): replayed or not, it is evaluated as a role of its own,
# since a loss on it says how far a model moved and nothing of general text.
BEHAVIOUR = "behaviour"
EVALUATED_ROLES = (*GIVEN_ROLES, BEHAVIOUR)
MANIFEST = "mixture.json"
SCHEMA = 1
_DECIMALS = 6
_MAX_DIGITS = 30
# Shares by train tokens are rounded to this many parts, so that the order of sources has a short
# period; at most 0.005 % of the windows are in question, and no source loses its last part.
_TOKEN_PARTS = 10_000


@dataclasses.dataclass(frozen=True)
class Component:
    """One source in its role; `share` is its exact fraction of the training windows."""

    role: str
    dataset: shards.Dataset
    source: str
    share: Fraction

    @property
    def key(self) -> str:
        """The name in metrics: role/source."""
        return f"{self.role}/{self.source}"

    @property
    def data(self) -> shards.Source:
        """The source itself."""
        return self.dataset.sources[self.source]

    @property
    def evaluated_as(self) -> str:
        """The role of its val split."""
        is_own_words = self.role != "domain" and self.dataset.is_sampled
        return BEHAVIOUR if is_own_words else self.role

    @property
    def train_fingerprint(self) -> str:
        """SHA-256 by which the text of the train split is recognised, whatever it is called."""
        parts = self.data.parts["train"]
        hashes = [dict(part.sha256).get("bin") for part in parts]
        # The original's directories have no hashes.
        content = hashes if all(hashes) else [self.dataset.fingerprint, self.source]
        written = json.dumps([self.dataset.tokenizer_sha256, *content])
        return hashlib.sha256(written.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Every source of a stage, those with share 0 included: they are evaluated only."""

    components: tuple[Component, ...]
    replay_ratio: Fraction

    def describe(self) -> dict:
        """Returns what decides the training windows, for fingerprints and differences."""
        return {
            one.key: {
                "dataset": one.dataset.path,
                "fingerprint": one.dataset.fingerprint,
                "train_tokens": one.data.tokens["train"],
                "share": str(one.share),
            }
            for one in self.components
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description without paths: moving a dataset changes nothing."""
        content = self.describe()
        for entry in content.values():
            del entry["dataset"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_alike(components: Sequence[Component]) -> None:
    """Raises UserError where the documents of some begin with BOS, and those of others do not."""
    firsts = {one.dataset.path: one.dataset.bos for one in components}
    if len({*firsts.values()}) > 1:
        told = ", ".join(
            f"{path} {'without' if bos is None else f'with BOS {bos}'}"
            for path, bos in firsts.items()
        )
        raise errors.UserError(
            f"documents begin in two ways: {told}; prepare one of them again with --bos=yes or "
            "--bos=no"
        )


def exact(value, name: str) -> Fraction:
    """Returns the fraction that the decimal text of `value` means; UserError if it is none."""
    try:
        decimal = Decimal(str(value))
    except InvalidOperation:
        decimal = Decimal("nan")
    if not decimal.is_finite():
        raise errors.UserError(f"{name} is {value!r}: a number is wanted")
    if decimal and abs(decimal.adjusted()) > _MAX_DIGITS:  # a fraction of it would fill the memory
        raise errors.UserError(f"{name} is {value!r}: at most {_MAX_DIGITS} digits are wanted")
    fraction = Fraction(decimal)
    if (fraction * 10**_DECIMALS).denominator != 1:
        raise errors.UserError(
            f"{name} is {value!r}: at most {_DECIMALS} decimals are wanted, "
            f"like {float(round(fraction, _DECIMALS))}"
        )
    return fraction


def build(
    *,
    domain: Sequence[str],
    general: Sequence[str],
    domain_weights: Sequence,
    general_weights: Sequence,
    replay_ratio,
) -> Mixture:
    """Opens the directories and fixes the shares: replay_ratio of the windows is general.

    Within a role, weights belong to directories; the sources of a directory share its weight by
    train tokens, and without weights all sources of the role do. Raises UserError for a bad ratio
    or weight, a role that has a share but no text, two sources of one name, mixed tokenizers.
    """
    ratio = exact(replay_ratio, "replay_ratio")
    if not 0 <= ratio <= 1:
        raise errors.UserError(f"replay_ratio is {replay_ratio}: 0..1 is wanted")
    components = []
    for role, directories, weights, share in (
        ("domain", domain, domain_weights, 1 - ratio),
        ("general", general, general_weights, ratio),
    ):
        if share and not directories:
            raise errors.UserError(
                f"replay_ratio {replay_ratio} gives the {role} role {float(share):g} of the "
                f"windows, but it has no dataset: set data.{role}"
            )
        components += _role_components(role, tuple(directories), tuple(weights), share)
    _check_together(components)
    return Mixture(tuple(components), ratio)


def components_of(role: str, directories: Sequence[str]) -> tuple[Component, ...]:
    """Returns the sources of directories that are evaluated but never trained on."""
    if role not in GIVEN_ROLES:
        raise errors.UserError(f"role {role!r}: {' or '.join(GIVEN_ROLES)} is wanted")
    return tuple(_role_components(role, tuple(directories), (), Fraction(0)))


def _role_components(
    role: str, directories: tuple, weights: tuple, role_share: Fraction
) -> list[Component]:
    opened = [_open_entry(entry) for entry in directories]
    if weights and len(weights) != len(opened):
        raise errors.UserError(
            f"data.{role}_weights has {len(weights)} numbers, data.{role} {len(opened)} "
            "directories: give one number for each, or none"
        )
    found = [(dataset, name) for dataset, names in opened for name in names]
    for position, (dataset, name) in enumerate(found):
        for other, other_name in found[:position]:
            if name == other_name:
                raise errors.UserError(
                    f"{other.path} and {dataset.path} both have a source {name!r} in the {role} "
                    "role: rename one of them (prepare it again under another name)"
                )
    if not weights:
        tokens = [dataset.sources[name].tokens["train"] for dataset, name in found]
        shares = (
            _by_tokens(tokens, role, directories) if role_share else [Fraction(0)] * len(tokens)
        )
    else:
        shares = []
        fractions = [exact(weight, f"data.{role}_weights") for weight in weights]
        if min(fractions) < 0 or sum(fractions) == 0:
            raise errors.UserError(
                f"data.{role}_weights is {weights}: no negative number and one positive is wanted"
            )
        for entry, (dataset, names), weight in zip(directories, opened, fractions, strict=True):
            tokens = [dataset.sources[name].tokens["train"] for name in names]
            inside = (
                _by_tokens(tokens, role, [entry])
                if role_share and weight
                else [Fraction(0)] * len(tokens)
            )
            shares += [weight / sum(fractions) * part for part in inside]
    return [
        Component(role, dataset, name, role_share * share)
        for (dataset, name), share in zip(found, shares, strict=True)
    ]


def _open_entry(entry: str) -> tuple[shards.Dataset, list[str]]:
    """A directory with all its sources, or with the one behind #: DIR#SOURCE."""
    directory, _, name = entry.partition("#")
    dataset = shards.open_dataset(directory)
    if name and name not in dataset.sources:
        raise errors.UserError(
            f"{directory} has no source {name!r}; it has {', '.join(dataset.sources)}"
        )
    return dataset, [name] if name else list(dataset.sources)


def _by_tokens(tokens: list[int], role: str, entries: Sequence[str]) -> list[Fraction]:
    """Shares in proportion to tokens, in _TOKEN_PARTS parts by largest remainder."""
    if sum(tokens) == 0:
        raise errors.UserError(
            f"{', '.join(entries)}: no train tokens for the {role} role: give other data"
        )
    if len(tokens) == 1:
        return [Fraction(1)]
    exact_parts = [Fraction(count * _TOKEN_PARTS, sum(tokens)) for count in tokens]
    parts = [max(int(part), 1) if part else 0 for part in exact_parts]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact_parts[i], i))
    missing = _TOKEN_PARTS - sum(parts)
    if missing >= 0:
        for i in order[:missing]:
            parts[i] += 1
    else:  # the parts lent to tiny sources come from the largest one
        parts[max(range(len(parts)), key=lambda i: (parts[i], -i))] += missing
    return [Fraction(part, _TOKEN_PARTS) for part in parts]


def _check_together(components: Sequence[Component]) -> None:
    if not components:
        raise errors.UserError("data.domain and data.general are empty: name a dataset directory")
    first = components[0].dataset
    for one in components[1:]:
        if one.dataset.tokenizer_sha256 != first.tokenizer_sha256:
            raise errors.UserError(
                f"{one.dataset.path} has {one.dataset.tokenizer} tokens, {first.path} "
                f"{first.tokenizer}: prepare one of them again with the other's --tokenizer"
            )


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Documents that are trained on and evaluated on."""

    train_key: str
    val_key: str
    documents: int
    example_document: int  # its index in the val split


def overlap(components: Sequence[Component]) -> list[Overlap]:
    """Returns every pair of a trained source and an evaluated one that share a text exactly.

    Reads the .doc tables only. The original's directories have none and are passed over. A text
    that was cut into pieces has some in train and some in val, for any other source.
    """
    val = [(one, one.data.stream("val").doc_hashes) for one in components]
    cut = {one.key: shards.cut_texts(one.dataset, one.source) for one in components}
    found = []
    for one in components:
        if not one.share:
            continue
        train = np.unique(one.data.stream("train").doc_hashes)
        for other, hashes in val:
            own = (
                one.source == other.source and one.dataset.fingerprint == other.dataset.fingerprint
            )
            known = train if own else np.union1d(train, cut[one.key])
            asked = hashes if own else np.concatenate([hashes, cut[other.key]])
            both = np.isin(asked, known, kind="sort")
            if both.any():
                example = int(np.flatnonzero(both)[0])
                found.append(Overlap(one.key, other.key, int(both.sum()), example))
    return found


def check_overlap(components: Sequence[Component]) -> None:
    """Raises UserError when a document stands in a train and an evaluated split."""
    for one in overlap(components):
        raise errors.UserError(
            f"{one.documents} documents of {one.val_key}'s val split (the first is number "
            f"{one.example_document}, or is cut into pieces) are also in the train split of "
            f"{one.train_key}: prepare one of the two again with --exclude_dir set to the other's "
            "directory"
        )


def from_manifest(directory: str | os.PathLike) -> Mixture:
    """Opens what the command mix wrote; raises UserError when data changed."""
    file = Path(directory) / MANIFEST
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{file} cannot be read ({error}): make it with python -m mypt_jax mix"
        ) from None
    if not isinstance(content, dict) or content.get("kind") != "mixture":
        raise errors.UserError(f"{file} does not describe a mixture: give another directory")
    wanted = {"schema", *ROLES, "domain_weights", "general_weights", "replay_ratio", "fingerprints"}
    if not wanted <= set(content) or not isinstance(content["schema"], int):
        lacks = ", ".join(sorted(wanted - set(content))) or "a schema"
        raise errors.UserError(f"{file} is damaged (it lacks {lacks}): mix again")
    if content["schema"] > SCHEMA:
        raise errors.UserError(
            f"{file} has schema {content['schema']}, this version reads up to {SCHEMA}: "
            "update mypt_jax"
        )
    # Paths are kept relative to the mixture, so that the data can move together.
    paths = {
        role: [os.path.normpath(os.path.join(directory, path)) for path in content[role]]
        for role in ROLES
    }
    made = build(
        domain=paths["domain"],
        general=paths["general"],
        domain_weights=content["domain_weights"],
        general_weights=content["general_weights"],
        replay_ratio=content["replay_ratio"],
    )
    for one in made.components:
        wanted = content["fingerprints"].get(os.path.relpath(one.dataset.path, directory))
        if wanted != one.dataset.fingerprint:
            raise errors.UserError(
                f"{one.dataset.path} changed since {file} was written: mix again"
            )
    return made
