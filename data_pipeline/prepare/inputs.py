"""`--source NAME:paths` -> documents, from text files, records, tables and TFDS datasets."""

import dataclasses
import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data_pipeline import document, errors
from data_pipeline.readers import markers, textfiles
from data_pipeline.readers.records import tfds_text

_TEXT = (".txt", ".md", ".markdown", ".rst", ".text")
_COMPRESSED = (".gz", ".bz2", ".zst", ".zstd")
_KNOWN = "(.txt .md .jsonl .parquet .tsv, and .gz .bz2 .zst of them)"


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


@dataclasses.dataclass(frozen=True)
class Spec:
    """One --source: its name, and its files or its TFDS dataset."""

    name: str
    files: tuple[Path, ...]
    tfds: str  # builder/config:split, or empty


def parse(text: str) -> Spec:
    """Reads `NAME:glob,glob` or `NAME:tfds:builder/config:split`; finds the files, sorted.

    Raises UserError for a glob that matches nothing and for files of an unknown kind.
    """
    name, colon, where = text.partition(":")
    if not colon or not name or not where:
        raise errors.UserError(f"--source {text!r}: NAME:paths is wanted, like wiki:texts/*.txt")
    if where.startswith("tfds:"):
        return Spec(name, (), where.removeprefix("tfds:"))
    files: list[Path] = []
    for pattern in where.split(","):
        found = sorted(Path(path) for path in glob.glob(pattern.strip(), recursive=True))
        found = [path for path in found if path.is_file()]
        if not found:
            raise errors.UserError(
                f"--source {name}: {pattern.strip()!r} matches no file: check the path "
                "(a directory needs a pattern, like DIR/**/*.txt)"
            )
        files += found
    files = _distinct(files)
    for path in files:
        _reader(path)
    return Spec(name, tuple(files), "")


def _distinct(files: list[Path]) -> list[Path]:
    """Each file once, by its shortest path: a link to a directory above leads to it again."""
    paths: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: len(path.parts)):
        paths.setdefault(os.path.realpath(path), path)
    kept = set(paths.values())
    return [path for path in dict.fromkeys(files) if path in kept]


def documents(
    specs: list[Spec], options: Options, *, groups: dict[str, str]
) -> Iterator[document.Document]:
    """Yields the documents of every spec; `groups` is filled with source name -> spec name.

    A record or block that names its own source keeps that name: evaluation is per such name.
    """
    change = _changes(options)
    for spec in specs:
        for item in _of_spec(spec, options):
            source = re.sub(r"[^A-Za-z0-9._-]+", "_", item.source).strip("._-") or spec.name
            if groups.setdefault(source, spec.name) != spec.name:
                raise errors.UserError(
                    f"source {source} is in both --source {groups[source]} and {spec.name}: "
                    "put its files under one of them"
                )
            text = change(item.text) if change else item.text
            yield dataclasses.replace(item, source=source, text=text)


def _of_spec(spec: Spec, options: Options) -> Iterator[document.Document]:
    if spec.tfds:
        yield from tfds_text.documents(
            spec.tfds,
            source=spec.name,
            text_field=options.text_field,
            bad_text=options.bad_text,
            rows_per_document=options.rows_per_document,
        )
    for path in spec.files:
        yield from _reader(path)(path, options)


def _reader(path: Path) -> Callable:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes = suffixes[:-1]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix in _TEXT:
        return _text_file
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet, ".tsv": _tsv}
    if suffix not in readers:
        raise errors.UserError(f"{path}: files of this kind are not read {_KNOWN}: convert it")
    return readers[suffix]


def _text_file(path: Path, options: Options) -> Iterator[document.Document]:
    separator = markers.compile_separator(options.doc_separator) if options.doc_separator else None
    blocks = textfiles.text_blocks(path, bad_text=options.bad_text)
    for number, part, source in markers.split(blocks, separator=separator):
        yield document.Document(id=f"{path}#{number}", text=part, source=source, path=str(path))


def _jsonl(path: Path, options: Options) -> Iterator[document.Document]:
    for number, offset, line in textfiles.lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number} at byte {offset}"
        try:
            record = json.loads(
                line.decode("utf-8", "strict" if options.bad_text == "error" else "replace")
            )
        except UnicodeDecodeError as error:
            raise textfiles.bad_bytes(path, offset + error.start) from None
        except (ValueError, RecursionError) as error:
            raise errors.UserError(f"{where}: not JSON ({error}): mend the line") from None
        if not isinstance(record, dict):
            raise errors.UserError(f"{where}: not a JSON object: give one object per line")
        yield _record(record, where, options, path, number)


def _parquet(path: Path, options: Options) -> Iterator[document.Document]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if options.text_field not in names:
                raise errors.UserError(
                    f"{path} has no column {options.text_field!r} but {', '.join(names)}: "
                    "pass --text_field"
                )
            wanted = [name for name in names if name in (options.text_field, *_FIELDS)]
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    yield _record(record, f"{path}, row {number}", options, path, number)
    except (pyarrow.ArrowException, OSError) as error:
        raise errors.UserError(f"{path} is no whole Parquet file ({error}): get it again") from None


_FIELDS = ("id", "source", "licence", "license", "split_key", "lang", "origin", "role")


def _record(
    record: dict, where: str, options: Options, path: Path, number: int
) -> document.Document:
    text = record.get(options.text_field)
    if text is None and options.text_field not in record:
        raise errors.UserError(
            f"{where}: no field {options.text_field!r} but {', '.join(map(str, record))[:200]}: "
            "pass --text_field"
        )
    if not isinstance(text, str):
        raise errors.UserError(
            f"{where}: field {options.text_field!r} is {type(text).__name__}, text is wanted: "
            "mend the record or pass --text_field"
        )
    fields = {name: str(record[name]) for name in _FIELDS if record.get(name) is not None}
    return document.Document(
        id=f"{path}#{number}",
        text=textfiles.clean(text, where=where, bad_text=options.bad_text),
        source=fields.get("source", ""),
        role=fields.get("role", ""),
        lang=fields.get("lang", ""),
        licence=fields.get("licence", fields.get("license", "")),
        origin=fields.get("origin", ""),
        path=where,
        split_key=fields.get("split_key", ""),
    )


def _tsv(path: Path, options: Options) -> Iterator[document.Document]:
    rows: list[str] = []
    count = 0
    for number, offset, line in textfiles.lines(path):
        if options.bad_text == "error":
            textfiles.check_nul(line, path, offset)
        try:
            row = line.decode("utf-8", "strict" if options.bad_text == "error" else "replace")
        except UnicodeDecodeError as error:
            raise textfiles.bad_bytes(path, offset + error.start) from None
        if not row.strip():
            continue
        where = f"{path}, line {number} at byte {offset}"
        row = textfiles.clean(row, where=where, bad_text=options.bad_text)
        if options.split_tsv:
            rows += [field for field in row.split("\t") if field.strip()]
        else:
            rows.append(row)
        count += 1
        if count % options.rows_per_document == 0:
            yield document.Document(id=f"{path}#{count}", text="\n".join(rows), path=str(path))
            rows = []
    if rows:
        yield document.Document(id=f"{path}#{count}", text="\n".join(rows), path=str(path))


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
