"""`--source NAME:paths` -> documents, from files of every kind in the table and TFDS datasets."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator

from data_pipeline import document, errors
from data_pipeline.prepare import places, versions
from data_pipeline.prepare.not_read import OLDER, NotRead
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
            "arrow": records,
            "csv": records | {"rows": self.rows_per_document},
            "html": {"main_content": True},
            "json": records,
            "jsonl": records,
            "parquet": records,
            "plain": {"pattern": self.doc_separator, "bad_text": self.bad_text},
            "rows": rows | {"bad_text": self.bad_text},
        }.get(reader, {})


@dataclasses.dataclass(frozen=True)
class Spec:
    """One --source: its name, and its files or its dataset."""

    name: str
    files: tuple[places.File, ...]
    tfds: str  # builder/config:split, or empty

    @property
    def recorded(self) -> list[str]:
        """What a manifest says of it: names, not where they stood; of a folder its own."""
        if self.tfds:
            return [f"tfds:{self.tfds}"]
        return list(dict.fromkeys(file.given for file in self.files))


def parse(text: str, *, reader: str = "", counted: NotRead | None = None) -> Spec:
    """Reads `NAME:path,path` or `NAME:tfds:builder/config:split`; finds the files, sorted.

    A path is a folder, an archive, a file or a glob. `counted` is told of what is not read.
    Raises UserError for a path where nothing is, or of which nothing is read.
    """
    name, colon, where = text.partition(":")
    if not colon or not name or not where:
        raise errors.UserError(f"--source {text!r}: NAME:paths is wanted, like wiki:texts/")
    if where.startswith("tfds:"):
        return Spec(name, (), where.removeprefix("tfds:"))
    counted = NotRead() if counted is None else counted
    files = _distinct(list(places.find(name, where, reader=reader, counted=counted)))
    if not files:
        raise errors.UserError(
            f"--source {name}: nothing in {where} is read: {counted.of(name) or 'it is empty'}"
        )
    return Spec(name, tuple(files), "")


def _distinct(files: list[places.File]) -> list[places.File]:
    """Each file once, by its shortest path: a link to a directory above leads to it again."""
    kept: dict[str, places.File] = {}
    for file in sorted(files, key=lambda file: len(file.path.parts)):
        kept.setdefault(os.path.realpath(file.path), file)
    return [file for file in files if kept[os.path.realpath(file.path)] is file]


def documents(
    specs: list[Spec],
    options: Options,
    *,
    groups: dict[str, str],
    account: accounts.Account = accounts.NONE,
    counted: NotRead | None = None,
) -> Iterator[document.Document]:
    """Yields the documents of every spec; `groups` is filled with source name -> spec name.

    A record or block that names its own source keeps that name: evaluation is per such name.
    `account` is told what readers leave out, `counted` which files are not read; a file that is
    named on the command line must be.
    """
    change = _changes(options)
    counted = NotRead() if counted is None else counted
    for spec in specs:
        is_empty = True
        for item in _of_spec(spec, options, account, counted):
            is_empty = False
            source = re.sub(r"[^A-Za-z0-9._-]+", "_", item.source).strip("._-") or spec.name
            if groups.setdefault(source, spec.name) != spec.name:
                raise errors.UserError(
                    f"source {source} is in both --source {groups[source]} and {spec.name}: "
                    "put its files under one of them"
                )
            text = change(item.text) if change else item.text
            yield dataclasses.replace(item, source=source, text=text)
        counted.check_records(spec.name)
        if is_empty:
            raise errors.UserError(f"--source {spec.name}: {_no_document(spec, counted)}")


def _no_document(spec: Spec, counted: NotRead) -> str:
    said = counted.of(spec.name)
    return f"no text in {', '.join(spec.recorded)}" + (f"; not read: {said}" if said else "")


def _of_spec(
    spec: Spec, options: Options, account: accounts.Account, counted: NotRead
) -> Iterator[document.Document]:
    if spec.tfds:
        yield from tfds_text.documents(
            spec.tfds,
            source=spec.name,
            text_field=options.text_field,
            bad_text=options.bad_text,
            rows_per_document=options.rows_per_document,
        )
    yield from _of_files(list(spec.files), spec, options, account, counted)


def _of_files(
    files: list[places.File],
    spec: Spec,
    options: Options,
    account: accounts.Account,
    counted: NotRead,
) -> Iterator[document.Document]:
    """Of versions of one text the newest is kept, the others are counted."""
    for group in versions.grouped(files):
        newer: list[tuple[str, str]] = []
        for file in group:
            if not file.reader:
                yield from _of_archive(file, spec, options, account, counted)
                continue
            found = _of_file(file, spec, options, account, counted)
            if len(group) == 1:
                yield from found
                continue
            items = list(found)
            text = "\n".join(item.text for item in items)
            same = (name for name, other in newer if versions.is_version(text, other))
            if (kept := next(same, None)) is not None:
                said = f"like {file.name}, of {kept}"
                counted.add(spec.name, OLDER, said, remedy=said)
                continue
            newer.append((file.name, text))
            yield from items


def _of_archive(
    file: places.File,
    spec: Spec,
    options: Options,
    account: accounts.Account,
    counted: NotRead,
) -> Iterator[document.Document]:
    with contextlib.ExitStack() as stack:
        unpacked = places.unpacked(file, source=spec.name, reader=options.reader, counted=counted)
        try:
            members = stack.enter_context(unpacked)
        except document.ReadError as error:
            _refuse(file, error, spec, counted)
            return
        yield from _of_files(list(members), spec, options, account, counted)


def _of_file(
    file: places.File,
    spec: Spec,
    options: Options,
    account: accounts.Account,
    counted: NotRead,
) -> Iterator[document.Document]:
    found = table.documents(
        file.reader,
        file.path,
        name=file.name,
        max_bytes=document.MAX_FILE_BYTES,
        options=options.of(file.reader),
        follow_links=True,
        includes=includes.Includes(file.root, file.path.relative_to(file.root).as_posix()),
        on_bad=lambda error: counted.add_record(spec.name, error),
        account=account,
    )
    try:
        for item in found:
            counted.taken(spec.name)
            converts = table.READERS[file.reader].converts
            yield dataclasses.replace(item, text=marks.unmarked(item.text)) if converts else item
    except (document.ReadError, errors.MissingExtra) as error:
        _refuse(file, error, spec, counted)


def _refuse(file: places.File, error: errors.UserError, spec: Spec, counted: NotRead) -> None:
    """Counts a file that is not read; one that is named on the command line ends the command."""
    if file.is_named:
        raise error
    counted.add_error(spec.name, file.name, error)


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
