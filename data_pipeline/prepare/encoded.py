"""Token ids -> token dataset: documents that were never text, such as a model's own samples.

Order, split, budget and files are those of build.py, so that readers know no difference.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_pipeline import atomic, hashing
from data_pipeline.prepare import budget, build, selection, spill, tokenise
from data_pipeline.tokens import shard_writer, shards, tokenizer


def encoded(source: str, pieces: list[np.ndarray], vocabulary: tokenizer.Tokenizer):
    """Documents as a tokenise.Encoded; each piece ends with end-of-text, and holds more. They get
    the BOS that documents of this vocabulary begin with."""
    rows, bytes_of = [], vocabulary.token_bytes()
    begins = [one for one in [vocabulary.document_bos] if one is not None]
    first = np.array(begins, vocabulary.dtype)
    pieces = [np.concatenate([first, piece]) for piece in pieces] if begins else pieces
    for piece in pieces:
        doc_hash = hashing.text_hash(vocabulary.decode(piece[len(first) : -1]))
        split = hashing.split_hash(f"{doc_hash:016x}")
        rows.append((doc_hash, split, len(piece), int(bytes_of[piece].sum())))
    tokens = np.concatenate(pieces) if pieces else np.zeros(0)
    return tokenise.Encoded(
        [source] * len(pieces), np.array(rows, tokenise.TABLE), tokens.astype(vocabulary.dtype)
    )


def build_encoded(
    batches: Iterable[tokenise.Encoded],
    *,
    out_dir: Path,
    source: str,
    vocabulary: tokenizer.Tokenizer,
    settings: budget.Settings,
    recorded: dict,
) -> dict[str, int]:
    """Writes the documents of one source as a dataset at `out_dir`, which must not exist or be
    empty; returns the tokens of each split. Equal documents are kept once.

    `recorded` is saved in the manifest beside the settings. Raises UserError before anything
    appears at `out_dir`.
    """
    settings.check()
    with atomic.staged_directory(out_dir) as staging:
        work = staging / ".work"
        store = spill.Spill(work, dtype=vocabulary.dtype, seed=settings.seed)
        for batch in batches:
            store.add(batch)
        store.sort()
        chosen = selection.select(
            store,
            source,
            limit_tokens=settings.total_tokens,
            val_fraction=settings.val_fraction,
            cut=False,
            excluded=build.NO_HASHES,
        )
        written = build.write_source(
            chosen,
            target=settings.total_tokens,
            store=store,
            root=staging,
            vocabulary=vocabulary,
            settings=settings,
            every_val=chosen.val_docs,
            first_shard=lambda source, split: 0,
        )
        shutil.rmtree(work)
        entry = {"licence": "", "licences": {}, "cut_texts": [], "splits": written.splits}
        manifest = shard_writer.manifest_of(
            vocabulary=vocabulary,
            sources={source: entry},
            settings=[build.saved_settings(settings) | recorded],
        )
        atomic.write_json(staging / shards.MANIFEST, manifest)
    return {split: said["tokens"] for split, said in written.splits.items()}
