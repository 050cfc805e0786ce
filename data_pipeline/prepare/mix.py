"""Mixing prepared datasets: a view that names them and the ratio, or real shards when asked for."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_pipeline import atomic, errors, hashing
from data_pipeline.batches import mixture
from data_pipeline.tokens import mypt_format, shard_writer, shards, tokenizer


def write_view(
    out_dir: Path,
    *,
    domain: list[Path],
    general: list[Path],
    general_weights: list[Fraction],
    replay_ratio: Fraction,
    recorded: dict,
) -> mixture.Mixture:
    """Writes a mixture manifest that copies nothing; returns the mixture as training opens it."""
    made = mixture.build(
        domain=[str(path) for path in domain],
        general=[str(path) for path in general],
        domain_weights=(),
        general_weights=tuple(decimal(weight) for weight in general_weights),
        replay_ratio=decimal(replay_ratio),
    )
    # Before anything is written: what cannot be trained on together is not to be mixed.
    mixture.check_alike(made.components)
    out_dir = Path(os.path.abspath(out_dir))
    datasets = {one.dataset.path: one.dataset for one in made.components}
    with atomic.staged_directory(out_dir) as staging:
        # Paths from where it lies: a view that is moved with its datasets finds them.
        atomic.write_json(
            staging / mixture.MANIFEST,
            {
                "kind": "mixture",
                "schema": mixture.SCHEMA,
                "domain": [_relative(path, out_dir) for path in domain],
                "general": [_relative(path, out_dir) for path in general],
                "domain_weights": [],
                "general_weights": [decimal(weight) for weight in general_weights],
                "replay_ratio": decimal(replay_ratio),
                # What a later start compares: a dataset that was built again is another mixture.
                "fingerprints": {
                    _relative(path, out_dir): dataset.fingerprint
                    for path, dataset in datasets.items()
                },
                "settings": recorded,
            },
        )
    return mixture.from_manifest(out_dir)


def _relative(path, out_dir: Path) -> str:
    return os.path.relpath(os.path.abspath(path), out_dir)


def decimal(value: Fraction) -> str:
    """Returns the decimal text of a fraction that has one of at most six decimals."""
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    assert Fraction(text) == value, value
    return text


def materialize(
    out_dir: Path,
    made: mixture.Mixture,
    *,
    seed: int,
    tokens_per_shard: int,
    include_replay_val: bool,
    layout: str,
    recorded: dict,
) -> dict[str, int]:
    """Writes all domain text and as much replay as the ratio asks; returns train tokens by source.

    Replay documents are taken in seeded order, the last one shortened, so that the ratio is exact
    to the token. Raises UserError when the replay text is too short: shards cannot repeat it.
    """
    domain = [one for one in made.components if one.role == "domain"]
    general = [one for one in made.components if one.role == "general"]
    for one in domain:
        # Replay may be of any storage, since its documents are read and written anew.
        if one.data.storage != "shards":  # its files are copied as they are
            raise errors.UserError(
                f"{one.dataset.path} is stored as {one.dataset.storage}: prepare it again, or "
                "leave --materialize out (a view needs no copy)"
            )
    for one in made.components:
        if one.dataset.is_sampled or one.dataset.answers:
            raise errors.UserError(
                f"{one.dataset.path} has a model's own words (mypt sample), which are evaluated "
                "apart from other text: leave --materialize out (a view keeps them apart)"
            )
    # The amount of replay follows from the domain's: share / (1 - ratio) has no value here.
    if made.replay_ratio == 1:
        raise errors.UserError(
            "replay_ratio 1 leaves no domain text: use the replay dataset itself"
        )
    wanted = _wanted(domain, general, made.replay_ratio)
    mixture.check_alike(made.components)
    vocabulary = domain[0].dataset.vocabulary()
    if layout == "mypt" and vocabulary.document_bos is not None:
        raise errors.UserError(
            "--layout=mypt: the original's layout has documents without BOS, with which these "
            "begin: prepare them with --bos=no, or leave --layout out"
        )
    with atomic.staged_directory(out_dir) as staging:
        # The original's layout is made from ours, which is then thrown away.
        native = staging if layout == "mypt_jax" else staging / "native"
        native.mkdir(exist_ok=True)
        sources = {}
        for one in domain:
            sources[one.source] = _copy(one, native)
        for one in general:
            if wanted[one.key]:
                if f"replay_{one.source}" in sources:
                    raise errors.UserError(
                        f"the domain has a source replay_{one.source} already, from an earlier "
                        "mixture: mix its own domain dataset instead"
                    )
                sources[f"replay_{one.source}"] = _replay(
                    one,
                    native,
                    vocabulary=vocabulary,
                    tokens=wanted[one.key],
                    seed=seed,
                    tokens_per_shard=tokens_per_shard,
                    with_val=include_replay_val,
                )
        atomic.write_json(
            native / shards.MANIFEST,
            shard_writer.manifest_of(vocabulary=vocabulary, sources=sources, settings=[recorded]),
        )
        if layout == "mypt":
            _as_original(native, staging, tokens_per_shard)
    return {name: entry["splits"]["train"]["tokens"] for name, entry in sources.items()}


def _wanted(domain: list, general: list, ratio: Fraction) -> dict[str, int]:
    """Train tokens of each replay source, rounded to the nearest token."""
    have = sum(one.data.tokens["train"] for one in domain)
    wanted = {one.key: round(have * one.share / (1 - ratio)) for one in general}
    for one in general:
        held = one.data.tokens["train"]
        if held < wanted[one.key]:
            raise errors.UserError(
                f"{one.dataset.path}: {one.source} has {held} train tokens, the ratio needs "
                f"{wanted[one.key]} ({wanted[one.key] - held} are missing): lower it, or leave "
                "--materialize out (the loader goes through replay again)"
            )
    return wanted


def _entry(one: mixture.Component) -> dict:
    return shards.read_manifest(Path(one.dataset.path))["sources"][one.source]


def _copy(one: mixture.Component, root: Path) -> dict:
    for split in shards.SPLITS:
        (root / one.source / split).mkdir(parents=True, exist_ok=True)
        for part in one.data.parts[split]:
            for suffix in ("bin", "idx", "doc"):
                name = f"{Path(part.path).name}.{suffix}"
                # Bytes as they are, so that the hashes of the manifest hold.
                shutil.copyfile(f"{part.path}.{suffix}", root / one.source / split / name)
    return _entry(one)


def _replay(
    one: mixture.Component,
    root: Path,
    *,
    vocabulary: tokenizer.Tokenizer,
    tokens: int,
    seed: int,
    tokens_per_shard: int,
    with_val: bool,
) -> dict:
    writers = {
        split: shard_writer.ShardWriter(
            root,
            source=f"replay_{one.source}",
            split=split,
            dtype=vocabulary.dtype,  # not the replay's: the original's shards are uint32
            tokens_per_shard=tokens_per_shard,
            first=0,
        )
        for split in shards.SPLITS
    }
    sizes = vocabulary.token_bytes()
    _take(one, "train", writers["train"], room=tokens, seed=seed, sizes=sizes)
    if with_val:
        room = one.data.tokens["val"]
        _take(one, "val", writers["val"], room=room, seed=seed, sizes=sizes)
    splits = {split: writer.close() for split, writer in writers.items()}
    documents = sum(entry["documents"] for entry in splits.values())
    return {
        "licence": one.data.licence,
        # Of the documents that were taken, not of those that the replay dataset has.
        "licences": {one.data.licence: documents},
        "cut_texts": [],
        "splits": splits,
    }


def _take(
    one: mixture.Component, split: str, writer, *, room: int, seed: int, sizes: np.ndarray
) -> None:
    """Copies documents in an order of the seed; `sizes`: bytes of every id of the new dataset."""
    stream = one.data.stream(split)
    ends = stream.doc_ends.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    hashes = stream.doc_hashes
    if not len(hashes):  # the original's shards: each counts as one document
        # Their place is all that tells them apart.
        hashes = np.arange(len(ends), dtype=np.uint64)
    at = f"{one.dataset.path}: {one.source}/{split}"
    for i in np.argsort(hashing.order_keys(hashes, seed), kind="stable").tolist():
        if room <= 0:
            return
        piece = stream[int(starts[i]) : int(min(ends[i], starts[i] + room))]
        piece[-1] = one.dataset.eot  # a shortened document has none, nor has the original's shard
        room -= len(piece)
        if piece.max() >= len(sizes):
            raise errors.UserError(
                f"{at}, document {i}: id {piece.max()} is a control tag of the original, which the "
                "domain's tokenizer lacks: prepare the domain with --tokenizer=mypt, or leave "
                "--materialize out"
            )
        text_bytes = int(sizes[piece].sum())
        writer.add(piece, doc_hash=int(hashes[i]), text_bytes=text_bytes)


def _as_original(native: Path, staging: Path, tokens_per_shard: int) -> None:
    """Turns the shards below `native` into a directory that the original's loader reads."""
    dataset = shards.open_dataset(native)
    splits = {
        split: [source.stream(split) for source in dataset.sources.values()]
        for split in shards.SPLITS
    }
    total = {split: sum(map(len, of_split)) for split, of_split in splits.items()}
    mypt_format.write(
        staging,
        vocabulary=dataset.vocabulary(),
        splits=splits,
        tokens_per_shard=tokens_per_shard,
        val_fraction=total["val"] / max(1, sum(total.values())),
        sources={name: [] for name in dataset.sources},
        targets={name: sum(one.tokens.values()) for name, one in dataset.sources.items()},
    )
    shutil.rmtree(native)
