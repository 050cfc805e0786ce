"""`--source NAME:paths` -> documents, from files of every kind in the table and TFDS datasets."""

import dataclasses
import glob
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data_pipeline import document, errors
from data_pipeline.readers import account as accounts
from data_pipeline.readers import includes, marks, table
from data_pipeline.readers.records import tfds_text


@dataclasses.dataclass(frozen=True)
class Options:
    """How files become documents; everything that changes text is off unless asked for."""

    bad_text: str  # error | replace
    text_field: str  # of .jsonl, .parquet and TFDS records
    doc_separator: str  # a regular expression, or empty
    split_tsv: bool  # every field of a .tsv row on a line of its own
    rows_per_document: int  # neighbouring .tsv rows or TFDS pairs that make one document
    lowercase: bool
    filter_lines: bool
    fold_whitespace: bool
    reader: str = ""  # for all files, in place of the one that their suffix names

    def of(self, reader: str) -> dict:
        """The options of a reader of the table."""
        records = {"text_key": self.text_field, "id_key": "", "bad_text": self.bad_text}
        rows = {"rows": self.rows_per_document, "split_fields": self.split_tsv}
        return {
            "jsonl": records,
            "parquet": records,
            "plain": {"pattern": self.doc_separator, "bad_text": self.bad_text},
            "rows": rows | {"bad_text": self.bad_text},
        }.get(reader, {})


@dataclasses.dataclass(frozen=True)
class Spec:
    """One --source: its name, and its files, each with the root of its pattern, or its dataset."""

    name: str
    files: tuple[Path, ...]
    tfds: str  # builder/config:split, or empty
    roots: tuple[Path, ...] = ()


def parse(text: str, *, reader: str = "") -> Spec:
    """Reads `NAME:glob,glob` or `NAME:tfds:builder/config:split`; finds the files, sorted.

    Raises UserError for a glob that matches nothing and for files of an unknown kind.
    """
    name, colon, where = text.partition(":")
    if not colon or not name or not where:
        raise errors.UserError(f"--source {text!r}: NAME:paths is wanted, like wiki:texts/*.txt")
    if where.startswith("tfds:"):
        return Spec(name, (), where.removeprefix("tfds:"))
    roots: dict[Path, Path] = {}
    for pattern, found in _patterns(name, where):
        for path in found:
            roots.setdefault(path, _root(pattern))
    files = _distinct(list(roots))
    for path in files:
        _reader(path, reader)
    return Spec(name, tuple(files), "", tuple(roots[path] for path in files))


def _patterns(name: str, where: str) -> Iterator[tuple[str, list[Path]]]:
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
                f"--source {name}: {parts[0].strip()!r} matches no file: check the path "
                "(a directory needs a pattern, like DIR/**/*.txt)"
            )
        yield pattern, found
        parts = parts[end:]


def _matched(pattern: str, *, is_name: bool) -> list[Path]:
    """The files of a pattern; what is a file's name as it stands is that file: text[1].txt."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    found = [] if is_name else glob.glob(pattern, recursive=True)
    return [path for path in sorted(map(Path, found)) if path.is_file()]


def _root(pattern: str) -> Path:
    """The directory above all that a pattern can match."""
    if Path(pattern).is_file():
        return Path(pattern).parent
    parts = Path(pattern).parts
    literal = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:literal])


def _distinct(files: list[Path]) -> list[Path]:
    """Each file once, by its shortest path: a link to a directory above leads to it again."""
    paths: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: len(path.parts)):
        paths.setdefault(os.path.realpath(path), path)
    kept = set(paths.values())
    return [path for path in dict.fromkeys(files) if path in kept]


def documents(
    specs: list[Spec],
    options: Options,
    *,
    groups: dict[str, str],
    account: accounts.Account = accounts.NONE,
) -> Iterator[document.Document]:
    """Yields the documents of every spec; `groups` is filled with source name -> spec name.

    A record or block that names its own source keeps that name: evaluation is per such name.
    `account` is told what readers leave out.
    """
    change = _changes(options)
    for spec in specs:
        for item in _of_spec(spec, options, account):
            source = re.sub(r"[^A-Za-z0-9._-]+", "_", item.source).strip("._-") or spec.name
            if groups.setdefault(source, spec.name) != spec.name:
                raise errors.UserError(
                    f"source {source} is in both --source {groups[source]} and {spec.name}: "
                    "put its files under one of them"
                )
            text = change(item.text) if change else item.text
            yield dataclasses.replace(item, source=source, text=text)


def _of_spec(
    spec: Spec, options: Options, account: accounts.Account
) -> Iterator[document.Document]:
    if spec.tfds:
        yield from tfds_text.documents(
            spec.tfds,
            source=spec.name,
            text_field=options.text_field,
            bad_text=options.bad_text,
            rows_per_document=options.rows_per_document,
        )
    for path, root in zip(spec.files, spec.roots, strict=True):
        reader = _reader(path, options.reader)
        found = table.documents(
            reader,
            path,
            name=str(path),
            max_bytes=document.MAX_FILE_BYTES,
            options=options.of(reader),
            follow_links=True,
            includes=includes.Includes(root, path.relative_to(root).as_posix()),
            account=account,
        )
        for item in found:
            converts = table.READERS[reader].converts
            yield dataclasses.replace(item, text=marks.unmarked(item.text)) if converts else item


def _reader(path: Path, name: str) -> str:
    """The name of the reader for a file: the one asked for, or that of its suffix."""
    found = name or table.named_for(path.name)
    if found is None:
        known = " ".join(sorted(table.BY_SUFFIX))
        raise errors.UserError(
            f"{path}: files of this kind are not read ({known}, and compressed ones): convert it, "
            "or name a reader with --reader"
        )
    return found


def _changes(options: Options) -> Callable[[str], str] | None:
    """The lossy rewritings of the original, each behind its own flag."""
    if not (options.lowercase or options.filter_lines or options.fold_whitespace):
        return None

    def change(text: str) -> str:
        lines = text.split("\n")
        if options.fold_whitespace:
            lines = [folded for line in lines if (folded := " ".join(line.split()))]
        if options.filter_lines:
            # The original's rule for a line worth keeping.
            lines = [s for s in lines if 20 <= len(s) <= 2000 and s.count(" ") >= 3]
        text = "\n".join(lines)
        return text.lower() if options.lowercase else text

    return change
