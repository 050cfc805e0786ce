"""Parquet tables -> one document for each row."""

from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document, errors
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.records import fields


def read(
    stream: BinaryIO,
    *,
    path: str,
    text_key: str = "text",
    id_key: str = "id",
    bad_text: str = "cut",
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the text of each row; its columns with the names of Document's fields are kept.

    Raises ReadError: "no_text_field" where the text's is missing, "truncated" for no whole file.
    """
    with errors.needs("corpora"):
        import pyarrow
        from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as table:
            names = table.schema_arrow.names
            if text_key not in names:
                message = f"{path} has no column {text_key!r} but {', '.join(names)}: "
                raise document.ReadError("no_text_field", f"{message}pass --text_field")
            wanted = [name for name in names if name in (text_key, id_key, "title", *fields.NAMES)]
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    yield fields.taken(
                        record,
                        where=f"{path}, row {number}",
                        name=f"{path}#{number}",
                        text_key=text_key,
                        id_key=id_key,
                        bad_text=bad_text,
                        account=account,
                    )
    except (pyarrow.ArrowException, OSError) as error:
        message = f"{path} is no whole Parquet file ({error}): get it again"
        raise document.ReadError("truncated", message) from None
