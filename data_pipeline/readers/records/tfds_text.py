"""Texts of any TFDS dataset, read without TensorFlow where TFDS allows it."""

import contextlib
import importlib
from collections.abc import Iterator

from data_pipeline import document, errors
from data_pipeline.readers import textfiles


def documents(
    spec: str, *, source: str, text_field: str, bad_text: str, rows_per_document: int
) -> Iterator[document.Document]:
    """Yields the documents of `builder/config:split`, or of `DIRECTORY:split`.

    A record is a document; pairs of sentences (translations) are grouped with their neighbours.
    Raises UserError when the dataset, its split or its text field is not there.
    """
    # A split may be a slice, like train[:10%].
    name, colon, split = spec.partition("[")[0].rpartition(":")
    split += spec[len(name + colon + split) :]
    if not colon:
        raise errors.UserError(f"tfds:{spec}: builder/config:split is wanted, like ag_news:train")
    records = _data_source(name, split)
    group: list[str] = []
    for number in range(len(records)):
        record = records[number]
        where = f"tfds:{spec}, record {number}"
        text, pair = _text(record, text_field, where)
        group.append(textfiles.clean(text, where=where, bad_text=bad_text))
        if pair and len(group) < rows_per_document and number + 1 < len(records):
            continue
        yield document.Document(id=where, text="\n".join(group), source=source, path=where)
        group = []


def _data_source(name: str, split: str):
    import tensorflow_datasets as tfds

    try:
        if name.startswith(("/", ".", "~")):
            builder = tfds.builder_from_directory(name)
        else:
            builder = _builder(name)
            builder.download_and_prepare(file_format="array_record")
        return builder.as_data_source(split=split)  # ty: ignore[missing-argument]  # its decorator
    except tfds.core.DatasetNotFoundError:
        raise errors.UserError(
            f"tfds:{name}:{split}: TFDS knows no such dataset, nor is one prepared in its data "
            "directory ($TFDS_DATA_DIR): check the name"
        ) from None
    except (
        OSError,  # no network, no permission, no such directory
        ValueError,  # an unknown dataset or split
        KeyError,
        ImportError,  # a dataset that does need TensorFlow
        RuntimeError,
        AssertionError,
        AttributeError,
        tfds.download.DownloadError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(
            f"tfds:{name}:{split} cannot be read ({type(error).__name__}: {reason}): prepare it "
            "where there is a network, or check name and split"
        ) from None


def _builder(name: str):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        # Without TensorFlow these are not imported by themselves, so their builders not registered;
        # a builder's name does not tell its module (wmt19_translate is in wmt19).
        for package in ("text", "translate", "question_answering", "summarization"):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"tensorflow_datasets.{package}")
        return tfds.builder(name)


def _text(record: dict, text_field: str, where: str) -> tuple[str, bool]:
    """Returns a record's text, and whether it is a pair of sentences."""
    value = record.get(text_field)
    if value is not None:
        return _decoded(value, where), False
    strings = [key for key in sorted(record) if isinstance(record[key], (bytes, str))]
    if len(strings) == len(record) and len(strings) > 1 and all(len(key) <= 5 for key in strings):
        # The Translation feature: one sentence per language code.
        return "\n".join(_decoded(record[key], where) for key in strings), True
    raise errors.UserError(
        f"{where}: no field {text_field!r} but {', '.join(sorted(record))}: pass --text_field"
    )


def _decoded(value, where: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise errors.UserError(
                f"{where}, byte {error.start}: not UTF-8: leave the dataset out"
            ) from None
    if not isinstance(value, str):
        raise errors.UserError(f"{where}: the field is {type(value).__name__}, text is wanted")
    return value
