"""Evaluation documents, which are never written, and the documents that hold text of them."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.corpus import files, registry
from data_pipeline.corpus import read as parts
from data_pipeline.similarity import containment

# Part of the key of what was looked for: raise it when the same texts would be found otherwise.
_VERSION = 2


def source_of(path: Path, number: int) -> tuple[registry.Source, Path]:
    """Evaluation documents as a source that wins every comparison and is never written."""
    directory = path if path.is_dir() else path.parent
    # A directory is a corpus that was built; other files in it are about it and hold no documents.
    glob = "**/*.jsonl*" if path.is_dir() else path.name
    reader = "plain" if path.suffix == ".txt" else "jsonl"
    source = registry.Source(
        name=f"against-{number}",
        role="domain",
        lang="",
        reader=reader,
        include=(glob,),
        licence="LicenseRef-own",
        attribution="",
        homepage="",
        fetch={"kind": "local"},
        # Every rule is open: a text that is dropped here would be trained on.
        quality={"min_chars": 1, "max_symbol_share": 1.0, "max_repeated_lines": 1.0,
                 "max_repeated_ngrams": 1.0},
        # Before the sources in the order of parts; that it is kept is dedup's Group.protected.
        priority=-1 - number,
    )  # fmt: skip
    return source, directory


def check_read(paths, protected, planned, markers: dict) -> None:
    """Raises UserError when an evaluation set could not be read: nothing would be kept out."""
    for path, source in zip(paths, protected, strict=True):
        read = [markers[part.key] for part in planned if part.source["name"] == source.name]
        documents = sum(marker["documents"] for marker in read)
        # One unread file is too many: its text would be found nowhere, and all look clean.
        failed = sum(
            count
            for marker in read
            for kind, count in marker["counts"].items()
            # A link beside an evaluation file is not of it; one in its place gives no documents.
            if kind.startswith(("files_failed/", "records_failed/"))
            and kind != "files_failed/symlink"
        )
        if failed or not documents:
            raise errors.UserError(
                f"--against={path}: {documents} documents, {failed} files or records not read; "
                'wanted JSON Lines with a "text" in each'
            )


@dataclasses.dataclass(frozen=True)
class Part:
    """What one task looks through: a part's documents, for the grams of an index."""

    key: str
    work_dir: str
    index_dir: str

    @property
    def result(self) -> Path:
        """Its hits, int64[2, N]: rows of the index and numbers of documents."""
        return Path(self.index_dir) / f"{self.key}.hits.npy"


def plan(own: Sequence[parts.Part], protected: Sequence[parts.Part], work_dir: Path) -> list[Part]:
    """Indexes the evaluation documents, unless that was done; returns what is to be looked at."""
    keys = [part.key for part in protected]
    settings = dataclasses.asdict(containment.Settings())
    # Named by what it is of: other texts, or another setting, make an index beside it.
    name = hashlib.sha256(json.dumps([_VERSION, settings, keys]).encode()).hexdigest()[:20]
    directory = work_dir / "against" / name
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        texts = (one.text for key in keys for one in parts.documents(key, work_dir))
        containment.build(texts, directory, size=containment.Settings().gram_letters)
        # Last: a build that was killed before starts over.
        files.write_bytes(directory / "done", b"")
    return [Part(part.key, str(work_dir), str(directory)) for part in own]


def look_through(part: Part) -> None:
    """Writes a part's hits, unless that was done."""
    if part.result.exists():
        return
    index = containment.Index(Path(part.index_dir), size=containment.Settings().gram_letters)
    texts = (one.text for one in parts.documents(part.key, Path(part.work_dir)))
    hits = [np.zeros((2, 0), np.int64), *map(np.stack, index.hits(texts))]
    files.write_array(part.result, np.concatenate(hits, axis=1))


def holding(own: Sequence[parts.Part], looked: Sequence[Part], work_dir: Path) -> dict:
    """Returns, by key of a part, which of its documents (bool[N]) hold evaluation text.

    What many documents of a source have is a formula, and holds none of them back.
    """
    held: dict[str, np.ndarray] = {}
    by_source: dict[str, list[Part]] = {}
    for part, task in zip(own, looked, strict=True):
        by_source.setdefault(part.source["name"], []).append(task)
    # By source, since a formula is of its source: a licence in every page of one alone.
    for tasks in by_source.values():
        settings = containment.Settings()
        index = containment.Index(Path(tasks[0].index_dir), size=settings.gram_letters)
        with tempfile.TemporaryDirectory(dir=work_dir / "against") as place:
            search = containment.Search(index, Path(place), keep_hits=True)
            starts = [0]
            for task in tasks:
                rows, numbers = files.read_array(task.result)
                search.add_hits(rows, starts[-1] + numbers)
                # Only for their number: the documents themselves are not read again.
                chars = files.read_array(work_dir / "read" / f"{task.key}.chars.npy")
                starts.append(starts[-1] + len(chars))
            holders = search.holders(**settings.limits(starts[-1]))
        every = np.zeros(starts[-1], bool)
        every[holders] = True
        for task, start, stop in zip(tasks, starts, starts[1:], strict=False):
            held[task.key] = every[start:stop]
    return held
