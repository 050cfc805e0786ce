"""Documents -> token dataset: tokenise once, spill, take in seeded order, split, publish.

Nothing depends on the order of the input, on the number of workers or on earlier attempts: the same
documents and settings give the same bytes.
"""

import dataclasses
import re
import shutil
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipeline import atomic, document, errors, hashing
from data_pipeline.prepare import budget, build_report, selection, small_sources, spill, tokenise
from data_pipeline.prepare.contamination import exclusion
from data_pipeline.tokens import shard_writer, shards, tokenizer

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
Decide = Callable[[spill.Spill, dict[str, selection.Selection]], dict[str, selection.Selection]]
NO_HASHES = np.zeros(0, np.uint64)
_NO_GROUPS: Mapping[str, str] = types.MappingProxyType({})


def build_dataset(
    documents: Iterable[document.Document],
    *,
    out_dir: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    recorded: dict,
    groups: Mapping[str, str] = _NO_GROUPS,
    excluded: np.ndarray = NO_HASHES,
    exclude_dirs: Sequence[Path] = (),
) -> list[build_report.SourceReport]:
    """Writes `documents` as a token dataset at `out_dir`, which must not exist or be empty.

    `recorded` is saved in the manifest beside the settings. Weights belong to the groups that
    `groups` names for sources (read when all documents were); texts whose hash is in `excluded`
    (uint64[N]) are left out, and those that hold text of the datasets `exclude_dirs`. Raises
    UserError before anything appears at `out_dir`.
    """
    settings.check()
    with atomic.staged_directory(Path(out_dir)) as staging:
        entries, reports = write_sources(
            documents,
            root=staging,
            vocabulary=vocabulary,
            settings=settings,
            groups=groups,
            excluded=excluded,
            exclude_dirs=exclude_dirs,
            first_shard=lambda source, split: 0,
        )
        if not entries:
            raise errors.UserError(
                "every document is in an excluded dataset: nothing is left; give other files"
            )
        if settings.val_fraction and not any(one.tokens["val"] for one in reports):
            raise errors.UserError(
                f"{', '.join(entries)}: all text is one piece, which cannot be split into train "
                "and val: give more text, or --val_fraction=0"
            )
        saved = saved_settings(settings) | recorded
        manifest = shard_writer.manifest_of(
            vocabulary=vocabulary, sources=entries, settings=[saved]
        )
        atomic.write_json(staging / shards.MANIFEST, manifest)
    return reports


def saved_settings(settings: budget.Settings) -> dict:
    saved = dataclasses.asdict(settings)
    del saved["workers"], saved["runner"]  # the bytes are the same with any
    saved["weights"] = {name: str(weight) for name, weight in settings.weights.items()}
    return saved


def write_sources(
    documents: Iterable[document.Document],
    *,
    root: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    groups: Mapping[str, str],
    excluded: np.ndarray,
    exclude_dirs: Sequence[Path],
    first_shard,
    decide: Decide = lambda store, chosen: chosen,
) -> tuple[dict[str, dict], list[build_report.SourceReport]]:
    """Writes shards below `root`; returns manifest entries by source, and the reports.

    `decide` may change what was chosen of each source, knowing all of it.
    """
    work = root / ".work"  # a source's name never starts with a dot
    watch = exclusion.Exclusion(exclude_dirs, work / "excluded") if exclude_dirs else None
    gate, store = _tokenised(
        documents, work, vocabulary=vocabulary, settings=settings, excluded=excluded, watch=watch
    )
    sources = sorted(gate.documents)
    _check_sources(sources, gate)
    found = {source: _find(source, gate, store, watch, excluded) for source in sources}
    reports = [
        build_report.of_known(gate, source, holding=len(found[source].holding))
        for source in sources
        if not found[source].tokens
    ]
    sources = [source for source in sources if found[source].tokens]
    if not sources:
        shutil.rmtree(work, ignore_errors=True)
        return {}, reports
    have = {source: found[source].tokens for source in sources}
    targets = budget.targets(have, groups=groups, settings=settings)
    chosen = {
        source: selection.select(
            store,
            source,
            limit_tokens=targets[source],
            val_fraction=settings.val_fraction,
            cut=source in gate.cut,
            excluded=found[source].left_out,
        )
        for source in sources
    }
    chosen = decide(store, chosen)
    budget.check_repeats(chosen, targets, settings=settings)
    # A text that is val of one source is in no other's train, though both may have it.
    every_val = np.unique(np.concatenate([one.val_docs for one in chosen.values()]))
    trained = NO_HASHES  # of the sources before, where there are several
    entries = {}
    for source in sources:
        written = write_source(
            chosen[source],
            target=targets[source],
            store=store,
            root=root,
            vocabulary=vocabulary,
            settings=settings,
            every_val=every_val,
            first_shard=first_shard,
        )
        shared = int(hashing.contains(trained, written.trained).sum())
        trained = np.union1d(trained, written.trained) if len(sources) > 1 else trained
        entries[source] = _entry(source, gate, written.splits)
        reports.append(
            build_report.of_source(
                gate,
                chosen[source],
                holding=len(found[source].holding),
                wanted_tokens=targets[source],
                splits=written.splits,
                in_other_val=written.in_other_val,
                shared=shared,
                passes=written.passes,
            )
        )
    shutil.rmtree(work)
    return entries, reports


class _Found(NamedTuple):
    """What there is of a source: texts that hold others' text, all that is left out, and tokens."""

    holding: np.ndarray  # uint64[N], as left_out
    left_out: np.ndarray
    tokens: int


def _find(
    source: str,
    gate: small_sources.Gate,
    store: spill.Spill,
    watch: exclusion.Exclusion | None,
    excluded: np.ndarray,
) -> _Found:
    holding = watch.holding(source) if watch else NO_HASHES
    left_out = np.union1d(_left_out(source, gate, excluded), holding)
    return _Found(holding, left_out, selection.available(store, source, left_out)[0])


def _entry(source: str, gate: small_sources.Gate, splits: dict[str, dict]) -> dict:
    """A source's entry of the manifest."""
    licences = gate.licences[source]
    return {
        "licence": " AND ".join(sorted(name for name in licences if name)),
        "licences": dict(sorted(licences.items())),
        "cut_texts": [f"{one:016x}" for one in sorted(gate.cut.get(source, ()))],
        "splits": splits,
    }


def _left_out(source: str, gate: small_sources.Gate, excluded: np.ndarray) -> np.ndarray:
    """Texts that this source may not have: also those of which another has pieces in val."""
    if source in gate.cut:
        return excluded
    others = [np.array(texts, np.uint64) for texts in gate.cut.values()]
    return np.unique(np.concatenate([excluded, *others]))


def _tokenised(
    documents: Iterable[document.Document],
    work: Path,
    *,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    excluded: np.ndarray,
    watch: exclusion.Exclusion | None,
) -> tuple[small_sources.Gate, spill.Spill]:
    """Reads and encodes everything once; returns the counts, and the tokens on disk."""
    gate = small_sources.Gate(
        work / "held",
        vocabulary=vocabulary,
        val_fraction=settings.val_fraction,
        excluded=excluded,
    )
    store = spill.Spill(work / "spill", dtype=vocabulary.dtype, seed=settings.seed)
    texts = gate.texts(_named(documents))
    if watch is not None:
        texts = watch.watch(texts)
    encoded = tokenise.encode_all(
        texts, vocabulary=vocabulary, workers=settings.workers, runner=settings.runner
    )
    for batch in encoded:
        store.add(batch)
    store.sort()
    return gate, store


def _named(documents: Iterable[document.Document]):
    for item in documents:
        if not _NAME.fullmatch(item.source):
            raise errors.UserError(
                f"source name {item.source[:210]!r}: letters, digits and ._- are wanted, at most "
                "200, as it names a directory"
            )
        yield item


def _check_sources(sources: list[str], gate: small_sources.Gate) -> None:
    empty = sorted(set(gate.empty) - set(sources))
    if empty or not sources:
        raise errors.UserError(
            f"no text in {', '.join(empty) or 'the input'}: every document is empty; "
            "give other files"
        )


@dataclasses.dataclass(frozen=True)
class _Written:
    splits: dict[str, dict]
    in_other_val: int
    trained: np.ndarray  # uint64: content hashes of its train split
    passes: int


def write_source(
    chosen: selection.Selection,
    *,
    target: int | None,
    store: spill.Spill,
    root: Path,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    every_val: np.ndarray,
    first_shard,
) -> _Written:
    """Writes a source's shards, once through its documents and again for what `repeat` adds."""

    def writer_of(split: str) -> shard_writer.ShardWriter:
        return shard_writer.ShardWriter(
            root,
            source=chosen.source,
            split=split,
            dtype=vocabulary.dtype,
            tokens_per_shard=settings.tokens_per_shard,
            first=first_shard(chosen.source, split),
        )

    writers = {split: writer_of(split) for split in shards.SPLITS}
    in_other_val = passes = 0
    trained = [NO_HASHES]
    room = (target or 0) - chosen.available_tokens  # > 0: train is repeated to fill it
    try:
        while True:
            limit = chosen.limit_tokens if passes == 0 else 1 << 62
            for bucket, rows, sizes in selection.take(
                store, chosen.source, limit_tokens=limit, excluded=chosen.excluded
            ):
                val = chosen.is_val(rows)
                foreign = ~val & hashing.contains(every_val, rows["doc"])
                if passes == 0:
                    in_other_val += int(foreign.sum())
                    trained.append(rows["doc"][~val & ~foreign])
                tokens = store.tokens(chosen.source, bucket)
                order = range(len(rows))
                if passes:
                    keys = hashing.order_keys(rows["doc"], settings.seed + passes)
                    order = np.argsort(keys, kind="stable").tolist()
                # Val once: a text that is scored twice would count twice.
                kept = ~foreign & ~val if passes else ~foreign
                # Lists, since a million tiny documents are a million turns of this loop.
                table, sizes, val, kept = (column.tolist() for column in (rows, sizes, val, kept))
                for i in order:
                    if not kept[i]:
                        continue
                    size = sizes[i]
                    if passes:
                        size = min(size, room)
                        if size < 2:  # one token and its end-of-text is the least that is a text
                            break
                        room -= size
                    _add(writers["val" if val[i] else "train"], table[i], size, tokens, vocabulary)
            passes += 1
            if not settings.repeat or room < 2 or passes >= settings.max_repeat:
                break
        splits = {split: writer.close() for split, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.abort()
    return _Written(splits, in_other_val, np.concatenate(trained), passes)


def _add(writer, row: tuple, size: int, tokens: np.ndarray, vocabulary) -> None:
    _, doc_hash, _, offset, whole, text_bytes = row  # spill.ROW
    piece = tokens[offset : offset + size]
    if size < whole:  # cut to fit the budget: it ends as every document does
        piece = np.append(piece[:-1], piece.dtype.type(vocabulary.eot))
        text_bytes = int(vocabulary.token_bytes()[piece].sum())
    writer.add(piece, doc_hash=doc_hash, text_bytes=text_bytes)
