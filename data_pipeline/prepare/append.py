"""Adding documents to a dataset: new shards first, the manifest last, in one step."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipeline import atomic, document, errors
from data_pipeline.prepare import budget, build, build_report, near_duplicates
from data_pipeline.tokens import shard_writer, shards, tokenizer


def append_documents(
    documents: Iterable[document.Document],
    *,
    dataset_dir: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    recorded: dict,
    groups: dict[str, str],
    excluded: np.ndarray = build.NO_HASHES,
    exclude_dirs: Sequence[Path] = (),
) -> list[build_report.SourceReport]:
    """Adds documents that neither the dataset nor `excluded` (uint64[N]: hashes of texts) holds
    and that hold no text of the datasets `exclude_dirs`; returns what became of them.

    A reader sees the old dataset or the new one: existing shards are never touched, and new ones
    count only when the manifest names them. Raises UserError for another tokenizer or storage.
    """
    settings.check()
    root = Path(dataset_dir)
    if not root.is_dir():
        raise errors.UserError(
            f"no dataset directory {root}: make it with prepare_weighted_dataset"
        )
    with atomic.appending(root):
        dataset = shards.open_dataset(root)
        # ArrayRecord and TFDS have an index of the whole file: to add to it is to write it anew.
        if dataset.storage != "shards":
            raise errors.UserError(
                f"{root} is stored as {dataset.storage}, which is only read: append to the shards "
                "that it was made from"
            )
        if dataset.is_sampled or dataset.answers:
            raise errors.UserError(
                f"{root} has a model's own words (mypt sample), and text beside them would be "
                "evaluated as these: prepare it as a dataset of its own"
            )
        if dataset.tokenizer_sha256 != vocabulary.sha256:
            raise errors.UserError(
                f"{root} has {dataset.tokenizer} tokens (vocabulary "
                f"{dataset.tokenizer_sha256[:12]}), not {vocabulary.name} "
                f"({vocabulary.sha256[:12]}): append with the same tokenizer"
            )
        vocabulary = vocabulary.beginning(dataset.bos is not None)
        manifest = shards.read_manifest(root)
        # Inside the dataset, so that shards are renamed within one file system.
        staging = root / ".append.partial"
        shutil.rmtree(staging, ignore_errors=True)
        # Before any number is given: a stray would be taken for the shard of that number.
        _remove_strays(root, manifest)
        staging.mkdir()
        try:
            added, reports = build.write_sources(
                documents,
                root=staging,
                vocabulary=vocabulary,
                settings=settings,
                groups=groups,
                # Texts that the dataset has count as duplicates, on whichever side they lie.
                excluded=np.union1d(shards.known_hashes(dataset), excluded),
                exclude_dirs=exclude_dirs,
                first_shard=lambda source, split: _next_number(manifest, source, split),
                decide=_sides(dataset, vocabulary, staging),
            )
            if added:
                # Shards first: until the manifest names them, a reader sees the dataset as it was.
                _move(staging, root)
                saved = build.saved_settings(settings) | recorded
                merged = shard_writer.manifest_of(
                    vocabulary=vocabulary,
                    sources=_merged(manifest["sources"], added),
                    settings=[*manifest["settings"], saved],
                )
                atomic.write_json(root / shards.MANIFEST, merged)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return reports


def _sides(dataset: shards.Dataset, vocabulary: tokenizer.Tokenizer, work: Path) -> build.Decide:
    """What keeps near-duplicates of what is there on its side, where the packages for it are."""
    if not near_duplicates.is_available():
        return lambda store, chosen: chosen
    from data_pipeline.prepare import sides

    return sides.Sides(dataset, vocabulary, work).decide


def _remove_strays(root: Path, manifest: dict) -> None:
    """Removes shards that an append moved here before it was killed: no manifest names them."""
    named = {
        shard["file"]
        for entry in manifest["sources"].values()
        for split in entry["splits"].values()
        for shard in split["shards"]
    }
    for split in shards.SPLITS:
        for path in root.glob(f"*/{split}/shard_[0-9]*.*"):
            if path.relative_to(root).with_suffix("").as_posix() not in named:
                path.unlink()


def _next_number(manifest: dict, source: str, split: str) -> int:
    """One more than the last shard that counts."""
    if source not in manifest["sources"]:
        return 0
    names = [shard["file"] for shard in manifest["sources"][source]["splits"][split]["shards"]]
    return max((int(name.rpartition("_")[2]) + 1 for name in names), default=0)


def _move(staging: Path, root: Path) -> None:
    # A manifest that survives a power loss must not name shards that did not.
    atomic.sync_tree(staging)
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            target = root / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    atomic.sync_directories(root)


def _merged(old: dict, added: dict) -> dict:
    merged = dict(old)
    for source, entry in added.items():
        if source not in old:
            merged[source] = entry
            continue
        licences = dict(old[source]["licences"])
        # Documents by licence: either part may have ones that the other lacks.
        for name, count in entry["licences"].items():
            licences[name] = licences.get(name, 0) + count
        merged[source] = {
            "licence": " AND ".join(sorted(name for name in licences if name)),
            "licences": dict(sorted(licences.items())),
            "cut_texts": [*old[source].get("cut_texts", ()), *entry["cut_texts"]],
            "splits": {
                split: shard_writer.split_entry(
                    [*old[source]["splits"][split]["shards"], *entry["splits"][split]["shards"]],
                    text_bytes=old[source]["splits"][split]["text_bytes"]
                    + entry["splits"][split]["text_bytes"],
                )
                for split in shards.SPLITS
            },
        }
    return dict(sorted(merged.items()))
