"""A token dataset for benches: what its ids say does not matter to those who read it."""

from pathlib import Path

import numpy as np

from data_pipeline import atomic
from data_pipeline.tokens import shard_writer, shards, tokenizer

_DOCUMENT_TOKENS = 2000


def write(
    out_dir: Path,
    tokens: int,
    *,
    seed: int,
    vocabulary: str = "gpt2",
    tokens_per_shard: int = 10_000_000,
) -> None:
    """Documents of one size, and a twentieth of them as val, in the real format."""
    of = tokenizer.get(vocabulary)
    generator = np.random.Generator(np.random.PCG64(seed))
    with atomic.staged_directory(out_dir) as staging:
        splits = {}
        for split, count in zip(shards.SPLITS, (tokens, tokens // 20), strict=True):
            writer = shard_writer.ShardWriter(
                staging,
                source="random",
                split=split,
                dtype=of.dtype,
                tokens_per_shard=tokens_per_shard,
                first=0,
            )
            for number in range(count // _DOCUMENT_TOKENS):
                document = generator.integers(0, of.eot, _DOCUMENT_TOKENS).astype(of.dtype)
                document[-1] = of.eot
                name = seed << 32 | (split == "val") << 31 | number  # no text stands in both
                writer.add(document, doc_hash=name, text_bytes=0)
            splits[split] = writer.close()
        entry = {"licence": "", "licences": {}, "cut_texts": [], "splits": splits}
        manifest = shard_writer.manifest_of(
            vocabulary=of, sources={"random": entry}, settings=[{"seed": seed}]
        )
        atomic.write_json(staging / shards.MANIFEST, manifest)
