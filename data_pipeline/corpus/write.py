"""Third stage of a build: kept documents -> corpus_shards/shard_00000.jsonl.zst."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import xxhash
import zstandard

from data_pipeline import digests
from data_pipeline.corpus import files, read
from data_pipeline.readers import account

SUMS = ("documents", "words", "chars", "bytes", "tokens")
SHARD_CHARS = 64_000_000
_ZSTD_LEVEL = 10


@dataclasses.dataclass(frozen=True)
class Shard:
    """What one task writes: the kept documents of some parts, mixed by the seed."""

    name: str
    keys: tuple[str, ...]
    work_dir: str
    out_dir: str
    seed: int
    tokenizer: str


def plan(
    planned: list[read.Part], *, seed: int, work_dir: Path, out_dir: Path, tokenizer: str
) -> list[Shard]:
    """Deals the parts out to shards of about 64 MB of text, in an order that the seed decides.

    Only names and contents count: the dates in the parts' keys do not reach the output.
    """
    shuffled = sorted(
        planned, key=lambda part: (_mixed(seed, "/".join(map(str, part.order))), part.order)
    )
    groups: list[list[str]] = [[]]
    size = 0
    for part in shuffled:
        keep = files.read_array(work_dir / "dedup" / f"{part.key}.keep.npy")
        chars = files.read_array(work_dir / "read" / f"{part.key}.chars.npy")
        kept = int(np.asarray(chars)[np.asarray(keep)].sum())
        if groups[-1] and size + kept > SHARD_CHARS:
            groups.append([])
            size = 0
        groups[-1].append(part.key)
        size += kept
    return [
        Shard(
            f"shard_{number:05d}.jsonl.zst",
            tuple(keys),
            str(work_dir),
            str(out_dir),
            seed,
            tokenizer,
        )
        for number, keys in enumerate(groups)
    ]


def _mixed(seed: int, name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode(), seed=seed & (1 << 64) - 1)


def write(shard: Shard) -> dict:
    """Writes one shard; returns its sha256 and the counts of each source in it."""
    work_dir = Path(shard.work_dir)
    kept = [row for key in shard.keys for row in _kept(key, work_dir)]
    kept.sort(key=lambda row: (_mixed(shard.seed, row["id"]), row["id"]))
    encode = _encoder(shard.tokenizer)
    counts: dict[str, dict[str, int]] = {}
    path = Path(shard.out_dir) / shard.name
    with files.replacing(path) as stream:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        with compressor.stream_writer(stream, closefd=False) as writer:
            for row in kept:
                source = counts.setdefault(row["source"], dict.fromkeys(SUMS, 0))
                source["documents"] += 1
                source["words"] += account.count(row["text"])
                source["chars"] += len(row["text"])
                source["bytes"] += len(row["text"].encode())
                source["tokens"] += encode(row["text"]) if encode else 0
                writer.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return {"name": shard.name, "sha256": digests.sha256(path), "sources": counts}


def _kept(key: str, work_dir: Path) -> list[dict]:
    keep = files.read_array(work_dir / "dedup" / f"{key}.keep.npy")
    named = files.read_json(work_dir / "dedup" / f"{key}.split.json")
    rows = []
    for number, found in enumerate(read.documents(key, work_dir)):
        if keep[number]:
            row = dataclasses.asdict(found)
            row["sha256"] = hashlib.sha256(found.text.encode()).hexdigest()
            row["split_key"] = named.get(str(number), found.id)
            rows.append(row)
    return rows


def _encoder(name: str):
    """A function that counts tokens, or None where no tokens are wanted."""
    if not name:
        return None
    from data_pipeline.tokens import tokenizer  # its 50,000 merges take a moment to load

    encoder = tokenizer.get(name)
    return lambda text: len(encoder.encode(text))
