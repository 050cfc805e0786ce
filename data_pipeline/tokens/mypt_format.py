"""The original's dataset directories: flat uint32 files with a metadata file, read as they are."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np

from data_pipeline import atomic, digests, errors
from data_pipeline.tokens import streams, tokenizer

STORAGE = "mypt"
METADATA = "dataset_metadata.json"
STATE = "tokenizer_state.json"
DTYPE = np.dtype("<u4")
TOKENIZERS = ("gpt2", "mypt", "mypt-v8")  # what the original calls gpt2; they read text alike
_VAL_FRACTION = 0.1
_BLOCK = 1 << 22  # ids read at one time


@dataclasses.dataclass(frozen=True)
class Found:
    """What a directory of the original holds; it has one source, named like the directory."""

    name: str
    tokenizer: tokenizer.Tokenizer
    train: tuple[streams.Part, ...]
    val: tuple[streams.Part, ...]
    metadata: dict
    fingerprint: str


def read(root: Path) -> Found:
    """Reads metadata and file sizes; raises UserError when they contradict each other."""
    metadata, state = _json(root / METADATA), {}
    if (root / STATE).is_file():
        state = _json(root / STATE)
    kind = state.get("token_kind", metadata.get("tokenization", "gpt2"))
    if not isinstance(kind, str):
        raise errors.UserError(f"{root} has token_kind {kind!r}, a name is wanted: restore it")
    if kind == "char":
        raise errors.UserError(f"{root} has the original's tokens of characters: use its gpt2")
    # Nothing says which control tags gpt2 stands for: those of now.
    vocabulary = tokenizer.get("mypt" if kind == "gpt2" else kind)
    if state.get("sha256", vocabulary.sha256) != vocabulary.sha256:
        raise errors.UserError(f"{root} was made with another {kind}: restore that tokenizer")
    if (root / "train").is_dir():
        train, val = _parts(root / "train"), _parts(root / "val")
    else:
        val_fraction = metadata.get("val_fraction", _VAL_FRACTION)
        if type(val_fraction) not in (int, float) or not 0 <= val_fraction <= 1:
            raise errors.UserError(
                f"{root / METADATA} has val_fraction {val_fraction!r}, 0 to 1 is wanted: restore it"
            )
        train, val = _split_flat(_parts(root), val_fraction)
    if not train and not val:
        raise errors.UserError(f"{root} has no .bin shard: restore it or prepare the data again")
    for said, parts in (("train_shards", train), ("val_shards", val)):
        if isinstance(metadata.get(said), int) and (root / "train").is_dir():
            if metadata[said] != len(parts):
                raise errors.UserError(
                    f"{root / METADATA} says {metadata[said]} {said}, {len(parts)} are there: "
                    "restore the missing files or prepare the data again"
                )
    files = [[Path(p.path).relative_to(root).as_posix(), p.tokens] for p in (*train, *val)]
    written = json.dumps([metadata, state, files], sort_keys=True)
    return Found(
        name=re.sub(r"[^A-Za-z0-9._-]", "_", root.resolve().name).lstrip("._-") or "data",
        tokenizer=vocabulary,
        train=train,
        val=val,
        metadata=metadata,
        fingerprint=hashlib.sha256(written.encode()).hexdigest(),
    )


def largest_id(parts: tuple[streams.Part, ...]) -> int:
    """The largest id of shards, -1 of none; remembered as long as nothing touches them. Raises
    UserError where one cannot be read."""
    memories: dict[str, digests.Memory] = {}
    largest = -1
    for part in parts:
        path = Path(f"{part.path}.bin")
        memory = memories.setdefault(str(path.parent), digests.Memory(path.parent))
        name = f"{path.name}: largest id"
        try:
            found = memory.recall(name, [str(path)])
            found = found or memory.learn(name, [str(path)], lambda path=path: _largest(path))
        except OSError as error:
            raise errors.UserError(
                f"{path} cannot be read ({error.strerror}): restore it"
            ) from error
        largest = max(largest, int(found))
    for memory in memories.values():
        memory.save()
    return largest


def _largest(path: Path) -> str:
    tokens = np.memmap(path, DTYPE, "r")
    return str(max(int(tokens[i : i + _BLOCK].max()) for i in range(0, len(tokens), _BLOCK)))


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"{path} cannot be read ({error}): restore it") from None
    if not isinstance(content, dict):
        raise errors.UserError(f"{path} is not a JSON object: restore it")
    return content


def _parts(directory: Path) -> tuple[streams.Part, ...]:
    parts = []
    masks = sorted(directory.glob("*_mask.bin"))
    if masks:
        raise errors.UserError(
            f"{masks[0]} is a loss mask of the original: this trainer would also train on what "
            "it leaves out; remove the *_mask.bin files if that is meant"
        )
    for path in sorted(directory.glob("*.bin")):
        size = path.stat().st_size
        if size == 0 or size % DTYPE.itemsize:
            raise errors.UserError(
                f"{path} has {size} bytes, a positive multiple of {DTYPE.itemsize} is wanted: "
                "it is truncated; restore it or prepare the data again"
            )
        parts.append(streams.Part(path=str(path.with_suffix("")), tokens=size // 4, documents=1))
    return tuple(parts)


def _split_flat(parts: tuple, val_fraction: float) -> tuple[tuple, tuple]:
    """The original's rule for a directory without train/ and val/: the last shards are val."""
    if len(parts) < 2:
        return (), parts
    count = min(max(round(len(parts) * val_fraction), 1), len(parts) - 1)
    return parts[:-count], parts[-count:]


def write(
    root: Path,
    *,
    vocabulary: tokenizer.Tokenizer,
    splits: dict[str, list[streams.TokenStream]],
    tokens_per_shard: int,
    val_fraction: float,
    sources: dict[str, list[str]],
    targets: dict[str, int],
) -> None:
    """Writes token streams as a directory that the original's loader reads.

    It knows gpt2 only; directories of another vocabulary name it, and are read here.
    """
    counts, total, number = {}, 0, 0
    for split, of_split in splits.items():
        (root / split).mkdir(parents=True)
        counts[split] = 0
        for block in _blocks(of_split, tokens_per_shard):
            # Not tofile, which reports a full disk without its error number.
            with open(root / split / f"shard_{number:05d}.bin", "wb") as file:
                file.write(block.astype(DTYPE).tobytes())
            number, total, counts[split] = number + 1, total + len(block), counts[split] + 1
    state = {"token_kind": "gpt2", "chars": None, "base_vocab_size": 50257}
    if vocabulary.name not in TOKENIZERS:
        state |= {"token_kind": vocabulary.name, "base_vocab_size": vocabulary.vocab_size}
        state["sha256"] = vocabulary.sha256
    atomic.write_json(root / STATE, state)
    atomic.write_json(
        root / METADATA,
        {
            "total_tokens": total,
            "total_tokens_written": total,
            "total_shards": number,
            "train_shards": counts["train"],
            "val_shards": counts["val"],
            "num_train_tokens": sum(map(len, splits["train"])),
            "num_val_tokens": sum(map(len, splits["val"])),
            "tokens_per_shard": tokens_per_shard,
            "val_fraction": val_fraction,
            "sources": sources,
            "targets": targets,
        },
    )


def _blocks(of_split: list[streams.TokenStream], size: int):
    pending: list[np.ndarray] = []
    room = size
    for stream in of_split:
        start = 0
        while start < len(stream):
            piece = stream[start : start + room]
            pending.append(piece)
            start, room = start + len(piece), room - len(piece)
            if room == 0:
                yield np.concatenate(pending)
                pending, room = [], size
    if pending:
        yield np.concatenate(pending)
