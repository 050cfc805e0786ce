"""First stage of a build: input files -> cleaned documents and their signatures, part by part.

A part is a run of neighbouring files of one source, or one large file. Its key names everything
that its result depends on but the files that its pages take in, which its marker names; its result
is complete when that marker, written last, is there.
"""

import collections
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zstandard

from data_pipeline import document, errors
from data_pipeline.corpus import clean, files, quality, registry
from data_pipeline.readers import account, compression, includes
from data_pipeline.readers import table as readers
from data_pipeline.similarity import minhash

# Part of every key: raise it when a reader or a rule changes what it writes.
VERSION = 10
# A part is what workers share out, and what one changed file costs to read again.
PART_FILES = 64
PART_BYTES = 8 * 1024 * 1024
# Enough to see what a reason drops; a report is read by a person.
EXAMPLES = 10
_ZSTD_LEVEL = 3


@dataclasses.dataclass(frozen=True)
class Part:
    """What one task reads: files of one source, with the settings that count."""

    source: dict
    root: str
    names: tuple[str, ...]
    work_dir: str
    mask: bool
    key: str

    @property
    def order(self) -> tuple:
        """Where the part stands among all, whatever its files' dates are."""
        return (self.source["priority"], self.source["name"], self.names[0])


def plan(sources: list[registry.Source], *, roots: dict, work_dir: Path, mask: bool) -> list[Part]:
    """Returns the parts of all sources, in order; `roots` maps a source's name to its directory.

    Raises UserError for a source whose directory is missing or holds no file that it includes.
    """
    parts = []
    for source in sources:
        root = Path(roots[source.name])
        if not root.is_dir():
            raise errors.UserError(
                f"source {source.name}: got no directory {root}, wanted its files there; "
                "run with --fetch, or leave it out with --exclude"
            )
        # A part of a source looks like a source: half a corpus would be built without a word.
        if (root / files.UNFINISHED).exists():
            raise errors.UserError(
                f"source {source.name}: fetching {root} was interrupted; run again with --fetch, "
                "or leave it out with --exclude"
            )
        found = sorted(wanted(source, root))
        if not any(source.wants(name) for name, _, _ in found):
            raise errors.UserError(
                f"source {source.name}: {root} has no file that {list(source.include)} includes"
            )
        for group in _groups(source, found):
            parts.append(_part(source, root, group, work_dir, mask))
    return parts


def wanted(source: registry.Source, root: Path) -> Iterator[tuple[str, int, int]]:
    """Yields (path, size, mtime) below root; symbolic links are neither followed nor read."""
    for directory, subdirectories, names in os.walk(root, followlinks=False):
        subdirectories.sort()
        base = Path(directory)
        # A link to a directory is not walked: it is counted where its files might be wanted.
        for name in subdirectories:
            path = base / name
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() and not registry.matches(f"{relative}/x", source.exclude):
                yield relative, 0, path.lstat().st_mtime_ns
        for name in names:
            path = base / name
            relative = path.relative_to(root).as_posix()
            if source.wants(relative) and (path.is_symlink() or path.is_file()):
                status = path.lstat()
                yield relative, status.st_size, status.st_mtime_ns


def _groups(source, found: list[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    if readers.READERS[source.reader].takes != "file":
        yield found  # such a reader joins files, and must have them all
        return
    group: list[tuple[str, int, int]] = []
    size = 0
    for entry in found:
        # Cut where a name says so, so that a new file moves the borders next to it only.
        border = xxhash.xxh3_64_intdigest(entry[0].encode()) % PART_FILES == 0
        if group and (border or size + entry[1] > PART_BYTES or len(group) >= 2 * PART_FILES):
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry[1]
    if group:
        yield group


def _part(source, root: Path, group, work_dir: Path, mask: bool) -> Part:
    described = dataclasses.asdict(source)
    described["origin"] = source.origin
    # Sizes and dates stand for the text: hashing a corpus to learn that it was read takes as long.
    named = json.dumps([VERSION, described, mask, group], sort_keys=True)
    key = f"{source.name}-{hashlib.sha256(named.encode()).hexdigest()[:20]}"
    names = tuple(name for name, _, _ in group)
    return Part(described, str(root), names, str(work_dir), mask, key)


class Report:
    """Counts of one part, and up to ten examples of each reason."""

    def __init__(self):
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}
        self.gone: collections.Counter[str] = collections.Counter()  # words of documents, by reason
        self.words = 0  # of the documents that are left
        self.account = account.Words(lambda kind, text: self.add(kind, example=text))
        self.included: dict[str, list[int] | None] = {}  # files: size and date, None for none

    def add(self, kind: str, count: int = 1, *, example: str = "") -> None:
        """Counts; an example is the document's id and the start of what was dropped."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        if example and len(self.examples.setdefault(kind, [])) < EXAMPLES:
            self.examples[kind].append(" ".join(example.split())[:160])


def read(part: Part) -> dict:
    """Reads, cleans and signs a part, unless that was done; returns its marker.

    A pure function from files to files: any process on any machine gives the same bytes.
    """
    base = Path(part.work_dir) / "read"
    done = files.read_json(base / f"{part.key}.json")
    if done is not None and _has_not_changed(done["included"], Path(part.root)):
        return done
    # Read anew under the same key where a file changed that its pages take in.
    for stale in Path(part.work_dir).glob(f"against/*/{part.key}.*"):
        stale.unlink()  # what was found in the part's former text
    report = Report()
    ids, exact, bands, chars, sets = [], [], [], [], []
    with files.replacing(base / f"{part.key}.jsonl.zst") as stream:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        with compressor.stream_writer(stream, closefd=False) as writer:
            for found in _cleaned(part, report):
                line = json.dumps(dataclasses.asdict(found), ensure_ascii=False)
                writer.write(line.encode() + b"\n")
                shingle_set = minhash.shingles(found.text)
                ids.append(found.id)
                exact.append(_exact(found.text))
                bands.append(minhash.band_keys(shingle_set))
                chars.append(len(found.text))
                sets.append(shingle_set)
    count = len(ids)
    files.write_json(base / f"{part.key}.ids.json", ids)
    files.write_array(base / f"{part.key}.exact.npy", np.array(exact, np.uint64).reshape(count, 2))
    # Stored by band: deduplication reads one band of all parts at a time.
    by_band = np.array(bands, np.uint64).reshape(count, minhash.KEYS).T
    files.write_array(base / f"{part.key}.bands.npy", np.ascontiguousarray(by_band))
    files.write_array(base / f"{part.key}.chars.npy", np.array(chars, np.int64))
    ends = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    files.write_array(base / f"{part.key}.ends.npy", ends)
    # All sets in one file with their ends: a file for each document would be millions.
    joined = np.concatenate(sets) if sets else np.zeros(0, np.uint32)
    files.write_array(base / f"{part.key}.sets.npy", joined)
    marker = {
        "documents": count,
        "counts": report.counts,
        "examples": report.examples,
        "included": report.included,
        "words": report.account.total | {"left": report.words},
        "gone": report.account.reasons | report.gone,
        "digest": hashlib.sha256(json.dumps([ids, exact]).encode()).hexdigest(),
    }
    files.write_json(base / f"{part.key}.json", marker)
    return marker


def _has_not_changed(included: dict[str, list[int] | None], root: Path) -> bool:
    """Whether the files that pages took in, or looked for, are as they were."""
    for name, seen in included.items():
        try:
            status = (root / name).lstat()
            found = [status.st_size, status.st_mtime_ns]
        except OSError:
            found = None
        if found != seen:
            return False
    return True


def _exact(text: str) -> tuple[int, int]:
    """128 bits of the text without regard to white space."""
    # Of 64 bits two would meet by chance among a few billion documents, and one would be dropped.
    digest = xxhash.xxh3_128_intdigest(" ".join(text.split()).encode())
    return digest >> 64, digest & (1 << 64) - 1


def _cleaned(part: Part, report: Report) -> Iterator[document.Document]:
    source = part.source

    def cut(rule, before, left):
        report.add(f"chars_cut/{rule}", len(before) - len(left))
        report.gone[f"boilerplate/{rule}"] += account.count(before) - account.count(left)

    for found in raw(part, report):
        report.add("documents_read")
        report.add("chars_read", len(found.text))
        text = clean.clean(found.text, rules=tuple(source["boilerplate"]), count=cut)
        lang = found.lang or source["lang"]
        # Judged after it was cleaned: of what is boilerplate alone nothing may be left.
        reason = quality.reason(text, lang=lang, limits=source["quality"])
        if reason:
            report.add(f"dropped/{reason}", example=f"{found.id}: {text[:100]}")
            report.gone[f"dropped/{reason}"] += account.count(text)
            continue
        if part.mask:
            text, masked = clean.mask(text)
            for kind, count in masked.items():
                if count:
                    report.add(f"masked/{kind}", count)
        report.words += account.count(text)
        identity = clean.normalise(f"{source['name']}/{found.id}").replace("\n", " ")
        yield document.Document(
            id=identity,
            text=text,
            source=source["name"],
            role=source["role"],
            lang=lang,
            licence=found.licence or source["licence"],
            origin=source["origin"],
            path=clean.normalise(found.path),
            kind=found.kind or source["reader"],
            title=clean.normalise(found.title).replace("\n", " "),
        )


def raw(part: Part, report: Report) -> Iterator[document.Document]:
    """The part's documents as the readers give them; a file that fails is counted, not fatal."""
    source, root = part.source, Path(part.root)
    limits: dict[str, Any] = {"max_bytes": source["max_file_bytes"]}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in source["options"].items()}

    def failed(name, error):
        kind = getattr(error, "kind", "unreadable")
        report.add(f"files_failed/{kind}", example=str(error))

    report.add("files", len(part.names))
    limits["account"] = report.account
    takes = readers.READERS[source["reader"]].takes
    if takes == "source":
        pairs = [(name, root / name) for name in part.names]
        yield from readers.source_documents(pairs, on_error=failed, **limits)
        return
    limits["options"] = options
    if takes == "pair":
        for left, right in _pairs(part.names, failed):
            try:
                both = (root / left, root / right)
                yield from readers.aligned_documents(both, name=left, **limits)
            except document.ReadError as error:
                failed(left, error)
        return

    def bad_record(error):
        report.add(f"records_failed/{error.kind}", example=str(error))

    def is_document(name):
        return registry.wants(name, source["include"], source["exclude"])

    for name in part.names:
        taken_in = includes.Includes(root, name, is_document=is_document, seen=report.included)
        try:
            yield from readers.documents(
                source["reader"],
                root / name,
                name=name,
                includes=taken_in,
                on_bad=bad_record,
                **limits,
            )
        except (document.ReadError, OSError) as error:
            failed(name, error)


def _pairs(names: tuple[str, ...], failed) -> Iterator[tuple[str, str]]:
    """Files that differ in their last suffix only: x.de-en.de and x.de-en.en."""
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(name.rpartition(".")[0], []).append(name)
    for stem, found in sorted(by_stem.items()):
        # Of three it is not known which two belong together.
        if len(found) == 2:
            yield found[0], found[1]
        else:
            failed(stem, document.ReadError("not_aligned", f"{stem}: {len(found)} files, wanted 2"))


def documents(part_key: str, work_dir: Path) -> Iterator[document.Document]:
    """Yields a part's documents in the order in which they were read."""
    path = work_dir / "read" / f"{part_key}.jsonl.zst"
    with open(path, "rb") as stream:
        reader = compression.zstandard_reader(stream)
        try:
            for line in io.TextIOWrapper(reader, encoding="utf-8", newline="\n"):
                yield document.Document(**json.loads(line))
        except EOFError as error:
            raise errors.UserError(
                f"{path} is truncated or damaged ({error}): remove {path.parent} and run again"
            ) from None
