"""Documents -> token dataset: tokenise once, spill, take in seeded order, split, publish.

Nothing depends on the order of the input, on the number of workers or on earlier attempts: the same
documents and settings give the same bytes.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_pipeline import (
    errors,
    hashing,
    publish,
    selection,
    shard_writer,
    shards,
    small_sources,
    spill,
    tokenise,
    tokenizer,
)
from data_pipeline.corpus import document

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_HASHES = np.zeros(0, np.uint64)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How documents become a dataset; saved in its manifest with what the command adds."""

    seed: int
    val_fraction: float
    tokens_per_shard: int
    total_tokens: int | None  # None: everything
    weights: dict[str, Fraction]  # relative, for sources that are named here; others have weight 1
    repeat: bool
    max_repeat: int
    allow_short: bool
    workers: int  # not saved: it changes nothing

    def check(self) -> None:
        """Raises UserError for values that cannot be meant."""
        if not 0 <= self.val_fraction < 1:
            raise errors.UserError(f"val_fraction {self.val_fraction}: 0 <= fraction < 1 is wanted")
        if self.tokens_per_shard < 1:
            raise errors.UserError(
                f"tokens_per_shard {self.tokens_per_shard}: at least 1 is wanted"
            )
        if self.total_tokens is not None and self.total_tokens < 1:
            raise errors.UserError(f"total_tokens {self.total_tokens}: at least 1 is wanted")
        if self.workers < 1 or self.max_repeat < 1:
            raise errors.UserError("workers and max_repeat: at least 1 is wanted")
        for name, weight in self.weights.items():
            if weight <= 0:
                raise errors.UserError(f"weight of {name} is {weight}: a positive one is wanted")


@dataclasses.dataclass(frozen=True)
class SourceReport:
    """What became of one source."""

    name: str
    documents_read: int
    empty: int
    long: int  # cut because they exceed a million characters
    duplicates: int
    in_other_val: int  # left out of train because another source has the same text in val
    cut: bool  # fewer than 100 documents: cut into pieces of about 2,000 tokens
    available_tokens: int
    wanted_tokens: int | None
    tokens: dict[str, int]
    documents: dict[str, int]
    passes: int  # how often train was repeated


def build_dataset(
    documents: Iterable[document.Document],
    *,
    out_dir: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: Settings,
    recorded: dict,
    excluded: np.ndarray = _NO_HASHES,
) -> list[SourceReport]:
    """Writes `documents` as a token dataset at `out_dir`, which must not exist or be empty.

    `recorded` is saved in the manifest beside the settings; texts whose hash is in `excluded`
    (uint64[N]) are left out. Raises UserError before anything appears at `out_dir`.
    """
    settings.check()
    with publish.staged_directory(Path(out_dir)) as staging:
        entries, reports = write_sources(
            documents,
            root=staging,
            vocabulary=vocabulary,
            settings=settings,
            excluded=excluded,
            first_shard=lambda source, split: 0,
        )
        saved = _saved(settings) | recorded
        manifest = shard_writer.manifest_of(
            vocabulary=vocabulary, sources=entries, settings=[saved]
        )
        publish.write_json(staging / shards.MANIFEST, manifest)
    return reports


def _saved(settings: Settings) -> dict:
    saved = dataclasses.asdict(settings)
    del saved["workers"]
    saved["weights"] = {name: str(weight) for name, weight in settings.weights.items()}
    return saved


def write_sources(
    documents: Iterable[document.Document],
    *,
    root: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: Settings,
    excluded: np.ndarray,
    first_shard,
) -> tuple[dict[str, dict], list[SourceReport]]:
    """Writes shards below `root`; returns manifest entries by source, and the reports."""
    work = root / "work"
    gate = small_sources.Gate(
        work / "held", vocabulary=vocabulary, val_fraction=settings.val_fraction
    )
    store = spill.Spill(work / "spill", dtype=vocabulary.dtype, seed=settings.seed)
    texts = gate.texts(_named(documents))
    for item in tokenise.encode_all(texts, vocabulary=vocabulary, workers=settings.workers):
        store.add(
            item.source,
            doc_hash=item.doc_hash,
            split_hash=item.split_hash,
            tokens=item.tokens,
            text_bytes=item.text_bytes,
        )
    store.flush()
    sources = sorted(gate.documents)
    _check_sources(sources, gate, settings)
    targets = _targets(sources, settings)
    chosen = {
        source: selection.select(
            store,
            source,
            limit_tokens=targets[source],
            val_fraction=settings.val_fraction,
            cut=source in gate.cut,
            excluded=excluded,
        )
        for source in sources
    }
    _check_lengths(chosen, targets, settings)
    every_val = np.unique(np.concatenate([one.val_docs for one in chosen.values()]))
    entries, reports = {}, []
    for source in sources:
        written = _write_source(
            chosen[source],
            target=targets[source],
            store=store,
            root=root,
            vocabulary=vocabulary,
            settings=settings,
            excluded=excluded,
            every_val=every_val,
            first_shard=first_shard,
        )
        licences = gate.licences[source]
        entries[source] = {
            "licence": " AND ".join(sorted(name for name in licences if name)),
            "licences": dict(sorted(licences.items())),
            "splits": written.splits,
        }
        reports.append(_report(source, gate, chosen[source], targets[source], written))
    _remove(work)
    return entries, reports


def _named(documents: Iterable[document.Document]):
    for item in documents:
        if not _NAME.fullmatch(item.source):
            raise errors.UserError(
                f"source name {item.source!r}: letters, digits and ._- are wanted, as it names a "
                "directory"
            )
        yield item


def _check_sources(sources: list[str], gate: small_sources.Gate, settings: Settings) -> None:
    empty = sorted(set(gate.empty) - set(sources))
    if empty or not sources:
        raise errors.UserError(
            f"no text in {', '.join(empty) or 'the input'}: every document is empty; "
            "give other files"
        )
    unknown = sorted(set(settings.weights) - set(sources))
    if unknown:
        raise errors.UserError(
            f"weight for {', '.join(unknown)}, which is no source: have {', '.join(sources)}"
        )


def _targets(sources: list[str], settings: Settings) -> dict[str, int | None]:
    """Tokens per source: the total by weight, rounded by largest remainder."""
    if settings.total_tokens is None:
        if settings.weights:
            raise errors.UserError("weights need a total: add --total_tokens=N")
        return dict.fromkeys(sources)
    weights = {source: settings.weights.get(source, Fraction(1)) for source in sources}
    whole = sum(weights.values())
    exact = {source: settings.total_tokens * weight / whole for source, weight in weights.items()}
    targets = {source: int(value) for source, value in exact.items()}
    by_remainder = sorted(sources, key=lambda source: (targets[source] - exact[source], source))
    for source in by_remainder[: settings.total_tokens - sum(targets.values())]:
        targets[source] += 1
    return targets


def _check_lengths(chosen: dict, targets: dict, settings: Settings) -> None:
    """With one source the total is a ceiling; with several a short one would change the weights."""
    if len(chosen) == 1 or settings.allow_short or settings.total_tokens is None:
        return
    for source, one in chosen.items():
        have, target = one.available_tokens, targets[source]
        passes = settings.max_repeat if settings.repeat else 1
        most = one.val_tokens + passes * (have - one.val_tokens) if have < target else target
        if most < target:
            total = min(
                settings.total_tokens * other.available_tokens // targets[name]
                for name, other in chosen.items()
            )
            raise errors.UserError(
                f"source {source} has {have} tokens, its weight needs {target}: "
                f"{target - most} are missing; pass --repeat, or --allow_short, or "
                f"--total_tokens={total} at most"
            )


@dataclasses.dataclass(frozen=True)
class _Written:
    splits: dict[str, dict]
    in_other_val: int
    passes: int


def _write_source(
    chosen: selection.Selection,
    *,
    target: int | None,
    store: spill.Spill,
    root: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: Settings,
    excluded: np.ndarray,
    every_val: np.ndarray,
    first_shard,
) -> _Written:
    writers = {
        split: shard_writer.ShardWriter(
            root,
            source=chosen.source,
            split=split,
            dtype=vocabulary.dtype,
            tokens_per_shard=settings.tokens_per_shard,
            first=first_shard(chosen.source, split),
        )
        for split in shards.SPLITS
    }
    in_other_val = passes = 0
    room = (target or 0) - chosen.available_tokens  # > 0: train is repeated to fill it
    try:
        while True:
            limit = chosen.limit_tokens if passes == 0 else None
            for bucket, rows, sizes in selection.take(
                store, chosen.source, limit_tokens=limit or 1 << 62, excluded=excluded
            ):
                val = chosen.is_val(rows)
                foreign = ~val & np.isin(rows["doc"], every_val)
                in_other_val += int(foreign.sum()) if passes == 0 else 0
                tokens = store.tokens(chosen.source, bucket)
                order = range(len(rows))
                if passes:
                    keys = hashing.order_keys(rows["doc"], settings.seed + passes)
                    order = np.argsort(keys, kind="stable").tolist()
                for i in order:
                    if foreign[i] or (passes and val[i]):
                        continue
                    size = int(sizes[i])
                    if passes:
                        size = min(size, room)
                        if size < 2:
                            break
                        room -= size
                    _add(writers["val" if val[i] else "train"], rows[i], size, tokens, vocabulary)
            passes += 1
            if not settings.repeat or room < 2 or passes >= settings.max_repeat:
                break
        splits = {split: writer.close() for split, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.abort()
    return _Written(splits, in_other_val, passes)


def _add(writer, row, size: int, tokens: np.ndarray, vocabulary: tokenizer.Tokenizer) -> None:
    offset, whole, text_bytes = int(row["offset"]), int(row["tokens"]), int(row["text_bytes"])
    piece = tokens[offset : offset + size]
    if size < whole:
        piece = np.append(piece[:-1], piece.dtype.type(vocabulary.eot))
        text_bytes = int(vocabulary.token_bytes()[piece].sum())
    writer.add(piece, doc_hash=int(row["doc"]), text_bytes=text_bytes)


def _report(source, gate, chosen, target, written: _Written) -> SourceReport:
    return SourceReport(
        name=source,
        documents_read=gate.documents[source],
        empty=gate.empty[source],
        long=gate.long[source],
        duplicates=chosen.duplicates,
        in_other_val=written.in_other_val,
        cut=source in gate.cut,
        available_tokens=chosen.available_tokens,
        wanted_tokens=target,
        tokens={split: entry["tokens"] for split, entry in written.splits.items()},
        documents={split: entry["documents"] for split, entry in written.splits.items()},
        passes=written.passes,
    )


def _remove(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()


def describe(reports: list[SourceReport]) -> list[str]:
    """Returns lines that say what became of each source, for a command to print."""
    lines, totals = [], collections.Counter()
    for one in reports:
        totals.update(one.tokens)
        notes = [
            f"{count} {what}"
            for count, what in (
                (one.empty, "empty documents skipped"),
                (one.duplicates, "duplicates dropped"),
                (one.long, "documents cut at a million characters"),
                (one.in_other_val, "left out: in another source's val"),
            )
            if count
        ]
        if one.cut:
            notes.append("fewer than 100 documents: cut at blank lines into pieces")
        if one.passes > 1:
            notes.append(f"train repeated {one.passes} times")
        if one.wanted_tokens is not None and sum(one.tokens.values()) < one.wanted_tokens:
            notes.append(f"{one.wanted_tokens} tokens asked for")
        lines.append(
            f"{one.name}: {one.documents_read} documents, "
            f"train {one.tokens['train']} tokens in {one.documents['train']}, "
            f"val {one.tokens['val']} in {one.documents['val']}"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    lines.append(f"total: train {totals['train']} tokens, val {totals['val']}")
    return lines
