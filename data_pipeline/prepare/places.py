"""The files of a --source: named as they stand, matched by a pattern, in a folder or an archive."""

import collections
import contextlib
import dataclasses
import glob
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import document, errors
from data_pipeline.corpus.fetch import archives
from data_pipeline.prepare import not_read
from data_pipeline.prepare.not_read import HIDDEN, METADATA, NotRead
from data_pipeline.readers import compression, table

_ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"))
_DATA_SET = frozenset(("dataset_info.json", "dataset_dict.json"))
# What an archive may unpack to: text compresses to a tenth, a bomb to a thousandth.
_MAX_RATIO = 100
_SMALL_BYTES = 256 << 20
_MAX_BYTES = 64 << 30


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a source; `reader` is its reader's name, or empty for an archive.

    `name` is what documents and messages call it, `given` what a manifest says, `root` the
    directory below which its pages may take in files. One that `is_named` stands on the command
    line, so that it must be readable.
    """

    path: Path
    name: str
    given: str
    root: Path
    reader: str
    is_named: bool = False


def find(source: str, where: str, *, reader: str, counted: NotRead) -> Iterator[File]:
    """Yields the files of `path,path,...`: files, folders, archives and globs, each sorted.

    What is not read is told to `counted`. Raises UserError for a path where nothing is, and for
    a file of an unknown kind that is named.
    """
    for pattern, found in _patterns(source, where):
        if Path(pattern).is_dir():
            yield from in_folder(
                Path(pattern), shown=pattern, source=source, reader=reader, counted=counted
            )
            continue
        is_named = Path(pattern).is_file()
        root = Path(pattern).parent if is_named else _above(pattern)
        for path in found:
            named = _reader(path, reader)
            if named is not None:
                yield File(path, str(path), path.name, root, named, is_named)
            elif is_named:
                raise errors.UserError(f"{path}: {_unknown()}")
            else:
                _count_unknown(source, str(path), counted)


def in_folder(
    folder: Path, *, shown: str, source: str, reader: str, counted: NotRead, inside: str = ""
) -> Iterator[File]:
    """Yields the files below a folder that a reader knows, sorted; no link is followed.

    `inside` names the archive that the folder was unpacked from.
    """
    for directory, subdirectories, names in os.walk(folder, followlinks=False):
        # A link to a directory is told of, and not walked.
        links = [name for name in subdirectories if os.path.islink(os.path.join(directory, name))]
        hidden = [name for name in subdirectories if name.startswith(".")]
        subdirectories[:] = sorted(set(subdirectories) - {*links, *hidden})
        metadata = _metadata(directory, names)
        for name in sorted([*names, *links, *hidden]):
            path = Path(directory, name)
            called = os.path.join(shown, path.relative_to(folder))
            if name.startswith("."):
                counted.add(source, HIDDEN, called, remedy="names that begin with a dot")
            elif path.is_symlink():
                said = f"{called}: links are not followed, name what it leads to"
                counted.add(source, "symlink", said)
            elif name in metadata:
                counted.add(source, METADATA, called, remedy="of a Hugging Face data set")
            elif not path.is_file():  # and never opened: a pipe would wait for its other end
                counted.add(source, "no file", f"{called}: a pipe, socket or device")
            elif (named := _reader(path, reader)) == "" and inside:
                counted.add(source, "archive", f"{called}: an archive in an archive, unpack it")
            elif named is None:
                _count_unknown(source, called, counted)
            else:
                yield File(path, called, f"{Path(shown).name}/", folder, named)


def _metadata(directory: str, names: list[str]) -> set[str]:
    """Files of a data set on disk that are none of its data: descriptions, and cached results."""
    if not _DATA_SET.intersection(names):
        return set()
    found = {"dataset_info.json", "dataset_dict.json", "state.json"}.intersection(names)
    try:
        with open(os.path.join(directory, "state.json"), "rb") as file:
            listed = json.load(file)["_data_files"]
        data = {each["filename"] for each in listed}
    except (
        OSError,
        ValueError,
        RecursionError,
        KeyError,
        TypeError,
    ):  # no data set's state, or a damaged one
        return found
    return found | {name for name in names if name.endswith(".arrow") and name not in data}


@contextlib.contextmanager
def unpacked(file: File, *, source: str, reader: str, counted: NotRead) -> Iterator[Iterator[File]]:
    """The files of an archive, unpacked below TMPDIR for as long as the block takes.

    Raises ReadError("archive") for a damaged one, one above the limits or with members outside.
    """
    size = file.path.stat().st_size
    limit = min(max(_MAX_RATIO * size, _SMALL_BYTES), _MAX_BYTES)
    links: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mypt-archive-") as scratch:
        target = Path(scratch, "files")
        try:
            archives.unpack(file.path, target, max_bytes=limit, left_out=links.append)
        except OSError as error:
            raise errors.UserError(
                f"{file.name}: cannot be unpacked in {scratch} ({error.strerror}): free some "
                "space, or set TMPDIR to a larger disk"
            ) from error
        except errors.UserError as error:
            raise document.ReadError("archive", f"{file.name}: {error}") from error
        for name in links:
            said = f"{file.name}/{name}: links and devices in an archive are not taken"
            counted.add(source, "symlink", said)
        yield in_folder(
            target,
            shown=file.name,
            source=source,
            reader=reader,
            counted=counted,
            inside=file.name,
        )


def _reader(path: Path, reader: str) -> str | None:
    """The name of a file's reader: the one asked for, or that of its suffix; "" for an archive."""
    if Path(compression.stripped(path.name)).suffix.lower() in _ARCHIVES:
        return ""
    return reader or table.reader_of(path)


def _unknown() -> str:
    known = " ".join(sorted({*table.BY_SUFFIX} - {*table.READERS["code"].suffixes}))
    return (
        f"files of this kind are not read ({known}, code, archives, and compressed ones): convert "
        "it, or name a reader with --reader"
    )


def _count_unknown(source: str, name: str, counted: NotRead) -> None:
    kind = not_read.suffix_of(name)
    counted.add(source, kind, f"{name}: {_unknown()}", remedy="no reader")


def _patterns(source: str, where: str) -> Iterator[tuple[str, list[Path]]]:
    """Yields each pattern with its files; a comma may also be part of a file's name."""
    parts = where.split(",")
    while parts:
        tried = False
        for end in (len(parts), *range(1, len(parts) + 1)):
            pattern = ",".join(parts[:end]).strip()
            # All at once first, but as the name of a file only: else each pattern by itself.
            is_name = 1 < end == len(parts) and not tried
            tried = True
            if found := _matched(pattern, is_name=is_name):
                break
        else:
            raise errors.UserError(
                f"--source {source}: {parts[0].strip()!r} matches no file: "
                f"{_beside(parts[0].strip())}check the path "
                "(a folder, an archive, a file or a pattern like DIR/**/*.txt is wanted)"
            )
        yield pattern, found
        parts = parts[end:]


def _beside(pattern: str) -> str:
    """What there is of other suffixes, where a pattern like DIR/*.txt finds nothing."""
    directory, name = os.path.split(pattern)
    stem = name.partition(".")[0]
    if not stem or not glob.has_magic(stem):
        return ""
    found = glob.glob(os.path.join(directory, f"{stem}.*"), recursive=True)
    suffixes = collections.Counter("".join(Path(one).suffixes) for one in found)
    if not suffixes:
        return ""
    suffix, count = suffixes.most_common(1)[0]
    return f"{os.path.join(directory, stem)}{suffix} has {count}; "


def _matched(pattern: str, *, is_name: bool) -> list[Path]:
    """The files of a pattern; what is a name as it stands is that file, or folder: text[1].txt."""
    if Path(pattern).is_file() or (pattern and Path(pattern).is_dir()):
        return [Path(pattern)]
    found = [] if is_name else glob.glob(pattern, recursive=True)
    return [path for path in sorted(map(Path, found)) if path.is_file()]


def _above(pattern: str) -> Path:
    """The directory above all that a pattern can match."""
    parts = Path(pattern).parts
    literal = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:literal])
