"""Tables in columns, Parquet and Arrow (also of Hugging Face's datasets) -> a document a row."""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from data_pipeline import document, errors
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.records import fields

_ARROW_FILE = b"ARROW1"  # else it is a stream, as datasets writes
_ROWS = 64  # made texts at a time, which may have a megabyte each
_BLOCK_BYTES = 1 << 20


def read(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "id",
    bad_text: str = "cut",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each row of Parquet; columns with names of Document's fields are kept.

    Raises ReadError: "no_text_field" where the text's is missing, "truncated" for no whole file.
    """
    with errors.needs("corpora"):
        import pyarrow
        from pyarrow import parquet

    options = {"text_key": text_key, "id_key": id_key, "bad_text": bad_text, "account": account}
    try:
        # By itself it would hold the columns of all row groups that it has read.
        how: dict[str, Any] = {"pre_buffer": False, "buffer_size": _BLOCK_BYTES}
        with parquet.ParquetFile(stream, **how) as table:
            wanted = _wanted(table.schema_arrow.names, path, text_key, id_key)
            batches = table.iter_batches(batch_size=_ROWS, columns=wanted, use_threads=False)
            yield from _documents(batches, path, options, on_bad)
    except (pyarrow.ArrowException, OSError) as error:
        message = f"{path} is no whole Parquet file ({error}): get it again"
        raise document.ReadError("truncated", message) from None


def read_arrow(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "id",
    bad_text: str = "cut",
    on_bad: document.OnBad = document.refused,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """The same of an Arrow file or stream."""
    with errors.needs("corpora"):
        import pyarrow
        from pyarrow import ipc

    options = {"text_key": text_key, "id_key": id_key, "bad_text": bad_text, "account": account}
    is_file = stream.read(len(_ARROW_FILE)) == _ARROW_FILE
    try:
        stream.seek(0)
        reader = ipc.open_file(stream) if is_file else ipc.open_stream(stream)
        with reader:
            wanted = _wanted(reader.schema.names, path, text_key, id_key)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            selected = (
                piece
                for batch in batches
                for piece in pyarrow.Table.from_batches([batch]).select(wanted).to_batches(_ROWS)
            )
            yield from _documents(selected, path, options, on_bad)
    except (pyarrow.ArrowException, OSError) as error:
        message = f"{path} is no whole Arrow file ({error}): get it again"
        raise document.ReadError("truncated", message) from None


def _wanted(names: list[str], path: str, text_key: str, id_key: str) -> list[str]:
    if text_key not in names:
        message = f"{path} has no column {text_key!r} but {', '.join(names)}: pass --text_field"
        raise document.ReadError("no_text_field", message)
    return [name for name in names if name in (text_key, id_key, "title", *fields.NAMES)]


def _documents(
    batches: Iterable[Any], path: str, options: dict[str, Any], on_bad: document.OnBad
) -> Iterator[document.Document]:
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            number += 1
            where, name = f"{path}, row {number}", f"{path}#{number}"
            try:
                found = fields.taken(record, where=where, name=name, **options)
            except document.ReadError as error:
                on_bad(error)
            else:
                yield found
