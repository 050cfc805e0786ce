"""The on-disk token dataset, opened cheaply; verification.py reads it thoroughly.

    manifest.json                          schema, tokenizer, shards and counts of every source;
                                           tokenizer.bos where every document begins with it
    <source>/{train,val}/shard_00000.bin   token ids, little-endian uint16 (uint32 above 65,536 ids)
    <source>/{train,val}/shard_00000.idx   uint64 per document: its end in the shard, EOT included
    <source>/{train,val}/shard_00000.doc   uint64 per document: hash of its text

A document never crosses a shard; windows do: a source's shards are read as one stream.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import array_record, mypt_format, streams
from data_pipeline.tokens import tokenizer as tokenizers

SCHEMA = 1
SPLITS = ("train", "val")
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """One named set of documents inside a dataset; the dicts have the keys train and val."""

    name: str
    licence: str
    tokens: dict[str, int]
    documents: dict[str, int]
    text_bytes: dict[str, int]
    parts: dict[str, tuple[streams.Part, ...]]
    root: str
    storage: str  # shards | array_record | tfds | mypt
    dtype: np.dtype
    id_limit: int

    def stream(self, split: str) -> streams.TokenStream:
        """Returns the tokens of `train` or `val`."""
        name, parts = f"{self.root}:{self.name}/{split}", self.parts[split]
        if self.storage in array_record.STORAGES:
            return array_record.open_stream(
                name=name, parts=parts, dtype=self.dtype, storage=self.storage
            )
        original = self.storage == mypt_format.STORAGE
        return streams.ShardStream(
            name=name,
            parts=parts,
            dtype=self.dtype,
            id_limit=self.id_limit,
            has_documents=not original,
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened dataset directory; `fingerprint` is the SHA-256 of what its manifest says."""

    path: str
    tokenizer: str
    tokenizer_sha256: str
    eot: int
    bos: int | None  # what every document begins with
    vocab_size: int
    max_id: int
    fingerprint: str
    storage: str
    dtype: np.dtype
    sources: dict[str, Source]
    settings: list[dict]

    def vocabulary(self, name: str = "") -> tokenizers.Tokenizer:
        """Returns its tokenizer, which `name` may call otherwise, for documents such as it has."""
        return tokenizers.get(name or self.tokenizer).beginning(self.bos is not None)

    def edges(self) -> dict[str, int]:
        """{"bos": .., "eot": ..} with which its documents begin and end. Raises UserError where
        they begin without."""
        if self.bos is None:
            raise errors.UserError(
                f"data.bos_at_cuts: the documents of {self.path} do not begin with BOS; prepare it "
                "with --bos=yes, or set data.bos_at_cuts=False"
            )
        return {"bos": self.bos, "eot": self.eot}

    def check_ids(self, vocabulary: tokenizers.Tokenizer) -> None:
        """Raises UserError where the original's data holds control tags that `vocabulary` lacks.

        A manifest names the largest id and its tokenizer; the original's directories name neither,
        so that those are read, once.
        """
        if self.storage != mypt_format.STORAGE:
            return
        for source in self.sources.values():
            largest = mypt_format.largest_id((*source.parts["train"], *source.parts["val"]))
            if largest >= vocabulary.vocab_size:
                raise errors.UserError(
                    f"{self.path} holds id {largest}, {vocabulary.name} ends at "
                    f"{vocabulary.vocab_size - 1}: a control tag of the original; set "
                    "data.tokenizer=mypt, or mypt-v8 for data of its first version"
                    if largest < self.vocab_size
                    else f"{self.path} holds id {largest}, the original has {self.vocab_size}: it "
                    "is damaged; restore it"
                )

    @property
    def answers(self) -> dict | None:
        """Of a chat model's own text (mypt sample): {"after": ids, "end": id} between which its
        answers stand; None of any other text. Raises UserError where that is no such thing."""
        found = next((one["answers"] for one in self.settings if "answers" in one), None)
        if found is None:
            return None
        try:
            ids = [*found["after"], found["end"]]
            is_whole = len(ids) > 1 and all(type(one) is int for one in ids)
        except (KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise errors.UserError(
                f"{Path(self.path) / MANIFEST}: where answers stand is damaged: restore it or "
                "sample again"
            )
        return {"after": found["after"], "end": found["end"]}

    @property
    def is_sampled(self) -> bool:
        """Whether a model wrote the text (mypt sample)."""
        return any(one.get("command") == "sample" for one in self.settings)


def open_dataset(path: str | os.PathLike) -> Dataset:
    """Opens a dataset directory of this project or of the original; reads no token.

    Raises UserError, naming file and remedy, when the manifest is missing, of a newer schema or
    contradicts itself or the sizes of the files.
    """
    root = Path(path)
    if not root.is_dir():
        raise errors.UserError(
            f"no dataset directory {root}: make it with python -m mypt_jax prepare"
        )
    if (root / MANIFEST).is_file():
        manifest = read_manifest(root)
        return _from_manifest(root, manifest)
    if (root / mypt_format.METADATA).is_file():
        return _from_legacy(root, mypt_format.read(root))
    raise errors.UserError(
        f"{root} has no {MANIFEST}: it is not a token dataset; "
        "make one with python -m mypt_jax prepare"
    )


def read_manifest(root: Path) -> dict:
    """Returns the parsed manifest.json; raises UserError when it is no manifest of this schema."""
    file = root / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{file} cannot be read ({error}): build the dataset again"
        ) from None
    if not isinstance(manifest, dict) or manifest.get("kind") != "token_dataset":
        raise errors.UserError(f"{file} does not describe a token dataset: give another directory")
    schema = manifest.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise errors.UserError(
            f"{file} has schema {schema}, this version reads up to {SCHEMA}: update mypt_jax"
        )
    return manifest


def fingerprint_of(manifest: dict) -> str:
    """Returns the SHA-256 of the sources and the tokenizer: the same for every storage of them."""
    # Not the storage nor how it was made: a dataset exported as ArrayRecord is the same text.
    content = [manifest["tokenizer"], manifest["dtype"], manifest["sources"]]
    written = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(written.encode()).hexdigest()


def _from_manifest(root: Path, manifest: dict) -> Dataset:
    file = root / MANIFEST
    try:
        tokenizer = manifest["tokenizer"]
        storage = manifest.get("storage", "shards")
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[manifest["dtype"]])
        sources = {
            name: _source(root, name, entry, storage, dtype, tokenizer["vocab_size"])
            for name, entry in manifest["sources"].items()
        }
        dataset = Dataset(
            path=str(path_of(root)),
            tokenizer=tokenizer["name"],
            tokenizer_sha256=tokenizer["sha256"],
            eot=tokenizer["eot"],
            bos=tokenizer.get("bos"),
            vocab_size=tokenizer["vocab_size"],
            max_id=manifest["max_id"],
            fingerprint=fingerprint_of(manifest),
            storage=storage,
            dtype=dtype,
            sources=sources,
            settings=manifest["settings"],
        )
        # An id beyond the vocabulary would read some other row of the table, and no error come.
        largest = max(dataset.max_id, *_edge_ids(tokenizer))
        fits = largest < dataset.vocab_size
    except (KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{file} is damaged (near {error}): restore it or build the dataset again"
        ) from None
    if not sources:
        raise errors.UserError(f"{file} names no source: build the dataset again")
    if not fits:
        raise errors.UserError(
            f"{file}: largest id {largest} is not below the vocabulary's "
            f"{dataset.vocab_size}: build the dataset again"
        )
    return dataset


def _edge_ids(tokenizer: dict) -> list[int]:
    """The ids of a manifest's tokenizer between which documents stand. Raises TypeError where it
    names none."""
    ids = [tokenizer[key] for key in ("eot", "bos") if key == "eot" or key in tokenizer]
    if not all(type(one) is int and one >= 0 for one in ids):
        raise TypeError(f"eot and bos are {ids}, wanted ids")
    if not all(isinstance(tokenizer[key], str) for key in ("name", "sha256")):
        raise TypeError("name and sha256 of the tokenizer, wanted texts")
    return ids


def known_hashes(dataset: Dataset) -> np.ndarray:
    """Returns the sorted content hashes of every document, and of the texts that were cut."""
    tables = [np.zeros(0, np.uint64)]
    for source in dataset.sources.values():
        tables += [source.stream(split).doc_hashes for split in SPLITS]
    if dataset.storage != mypt_format.STORAGE:
        tables += [cut_texts(dataset, source) for source in dataset.sources]
    return np.unique(np.concatenate(tables))


def cut_texts(dataset: Dataset, source: str) -> np.ndarray:
    """Returns the content hashes of the texts of which a source of few documents has the pieces."""
    if dataset.storage == mypt_format.STORAGE:
        return np.zeros(0, np.uint64)
    entry = read_manifest(Path(dataset.path))["sources"][source]
    return np.array([int(one, 16) for one in entry.get("cut_texts", ())], np.uint64)


def path_of(root: Path) -> Path:
    """Returns the directory as given, without dots and doubled slashes."""
    return Path(os.path.normpath(root))


def _check_inside(root: Path, name: str) -> None:
    """Raises UserError for a name that leads out of the dataset: commands write to such paths."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise errors.UserError(
            f"{root / MANIFEST} names {name!r}, which is not inside the dataset: restore it or "
            "build the dataset again"
        )


def _licence(entry: dict) -> str:
    """Of a source's manifest entry; one that not all documents have says so."""
    stated, counts = entry["licence"], entry.get("licences")
    is_whole = not stated or not isinstance(counts, dict) or not counts.get("")
    return stated if is_whole else f"{stated}, in part not stated"


def _source(
    root: Path, name: str, entry: dict, storage: str, dtype: np.dtype, vocab_size: int
) -> Source:
    parts = {}
    _check_inside(root, name)
    for split in SPLITS:
        said = entry["splits"][split]
        for shard in said["shards"]:
            _check_inside(root, shard["file"])
        parts[split] = tuple(
            streams.Part(
                path=str(root / shard["file"]),
                tokens=shard["tokens"],
                documents=shard["documents"],
                sha256=tuple(sorted(shard["sha256"].items())),
                max_id=shard["max_id"],
            )
            for shard in said["shards"]
        )
        for count in ("tokens", "documents"):
            total = sum(getattr(part, count) for part in parts[split])
            if total != said[count]:
                raise errors.UserError(
                    f"{root / MANIFEST}: {name}/{split} says {said[count]} {count}, its shards "
                    f"have {total}: restore the manifest or build the dataset again"
                )
        for part in parts[split]:
            # By size alone, since every start opens datasets; hashes are checked while it compiles.
            if storage == "shards":
                streams.check_size(part.path + ".bin", part.tokens * dtype.itemsize)
            streams.check_size(part.path + ".idx", part.documents * 8)
            streams.check_size(part.path + ".doc", part.documents * 8)
    splits = entry["splits"]
    return Source(
        name=name,
        licence=_licence(entry),
        tokens={split: splits[split]["tokens"] for split in SPLITS},
        documents={split: splits[split]["documents"] for split in SPLITS},
        text_bytes={split: splits[split]["text_bytes"] for split in SPLITS},
        parts=parts,
        root=str(path_of(root)),
        storage=storage,
        dtype=dtype,
        id_limit=vocab_size,
    )


def _from_legacy(root: Path, found: mypt_format.Found) -> Dataset:
    parts = {"train": found.train, "val": found.val}
    source = Source(
        name=found.name,
        licence="",
        tokens={split: sum(part.tokens for part in parts[split]) for split in SPLITS},
        documents={split: len(parts[split]) for split in SPLITS},
        text_bytes=dict.fromkeys(SPLITS, 0),
        parts=parts,
        root=str(path_of(root)),
        storage=mypt_format.STORAGE,
        dtype=mypt_format.DTYPE,
        id_limit=found.tokenizer.vocab_size,
    )
    return Dataset(
        path=str(path_of(root)),
        tokenizer=found.tokenizer.name,
        tokenizer_sha256=found.tokenizer.sha256,
        eot=found.tokenizer.eot,
        bos=None,
        vocab_size=found.tokenizer.vocab_size,
        max_id=found.tokenizer.vocab_size - 1,
        fingerprint=found.fingerprint,
        storage=mypt_format.STORAGE,
        dtype=mypt_format.DTYPE,
        sources={found.name: source},
        settings=[found.metadata],
    )
