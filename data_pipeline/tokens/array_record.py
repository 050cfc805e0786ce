"""Token streams stored as fixed-size records: plain ArrayRecord files, or a TFDS dataset of them.

Record r of a split holds the tokens r * RECORD_TOKENS and following; the last one is shorter.
Neither kind needs TensorFlow. Document ends and hashes stay in the shards' .idx and .doc files.
"""

import contextlib
import errno
import functools
import glob
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import streams

STORAGES = ("array_record", "tfds")
RECORD_TOKENS = 1024
_FEW_RECORDS = 32
# 64 Mi tokens, 128 MiB as uint16: the size at which object stores read well.
_RECORDS_PER_FILE = 1 << 16


class RecordStream(streams.TokenStream):
    """A stream over records; the reader is opened when first used and never pickled."""

    def __init__(self, *, name: str, parts: tuple[streams.Part, ...], dtype, storage: str):
        super().__init__(name=name, parts=parts)
        self._dtype = dtype
        self._storage = storage
        self._records: Any = None

    def __getstate__(self):
        return self.__dict__ | {"_records": None}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns int32[stop - start]."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self!r}: tokens {start}..{stop}")
        if start == stop:
            return np.zeros(0, np.int32)
        first, last = start // RECORD_TOKENS, -(-stop // RECORD_TOKENS)
        try:
            found = self._read_records(first, last)
        except (OSError, RuntimeError, ValueError) as error:  # what the libraries say of damage
            raise errors.UserError(
                f"{self.name}: records {first} to {last} cannot be read ({error}): restore the "
                "files or export the dataset again"
            ) from error
        if self._storage == "tfds":
            pieces = [record["tokens"] for record in found]
        else:
            pieces = [np.frombuffer(record, self._dtype) for record in found]
        tokens = np.concatenate(pieces)[start - first * RECORD_TOKENS :][: stop - start]
        return tokens.astype(np.int32)

    def _read_records(self, first: int, last: int) -> list:
        if self._records is None:
            self._records = _open_records(self.name, self._storage, len(self))
        # Reading many at once starts threads, which costs a millisecond.
        if last - first <= _FEW_RECORDS:
            return [self._records[i] for i in range(first, last)]
        return self._records.__getitems__(range(first, last))


def open_stream(*, name: str, parts, dtype: np.dtype, storage: str) -> RecordStream:
    """Returns the stream of one split of a dataset whose storage is `array_record` or `tfds`."""
    return RecordStream(name=name, parts=parts, dtype=dtype, storage=storage)


def files(root: str, source: str, split: str, storage: str) -> tuple[str, ...]:
    """The files with the records of one split, in their order; none for another storage."""
    if storage not in STORAGES:
        return ()
    below, name = (
        ("tfds", f"*-{split}.array_record*") if storage == "tfds" else (split, "*.array_record")
    )
    place = glob.escape(os.path.join(root, source, below))
    return tuple(sorted(glob.glob(os.path.join(place, name))))


def _open_records(name: str, storage: str, tokens: int) -> Any:
    """A data source of one of the two libraries."""
    directory, _, split = name.rpartition("/")
    root, _, source = directory.rpartition(":")
    if storage == "tfds":
        import tensorflow_datasets as tfds

        try:
            place = os.path.join(root, source, "tfds")
            builder = tfds.builder_from_directory(place)
            records = builder.as_data_source(split=split)  # ty: ignore[missing-argument]
        except (OSError, ValueError, KeyError) as error:
            raise errors.UserError(f"{name}: the TFDS files cannot be read: {error}") from None
    else:
        from array_record.python import array_record_data_source

        paths = files(root, source, split, storage)
        if not paths:
            place = os.path.join(root, source, split)
            raise errors.UserError(f"{place} has no *.array_record: export the dataset again")
        records = array_record_data_source.ArrayRecordDataSource(list(paths))
    wanted = -(-tokens // RECORD_TOKENS)
    if len(records) != wanted:
        raise errors.UserError(
            f"{name} has {len(records)} records, its manifest needs {wanted}: export it again"
        )
    return records


def records_of(stream: streams.TokenStream, dtype: np.dtype):
    """Yields the records of a stream, in order."""
    for start in range(0, len(stream), RECORD_TOKENS):
        yield stream[start : start + RECORD_TOKENS].astype(dtype)


def export(source, root: Path, *, dtype: np.dtype, storage: str) -> int:
    """Writes the splits of a shards.Source below `root`; returns the records written."""
    of_split = {split: source.stream(split) for split in source.tokens if source.tokens[split]}
    directory = root / source.name
    try:
        if storage == "tfds":
            directory.mkdir(parents=True)
            return _write_tfds(of_split, directory)
        written = 0
        for split, stream in of_split.items():
            (directory / split).mkdir(parents=True)
            written += _write_array_record(stream, directory / split, dtype)
        return written
    except RuntimeError as error:  # the library's word for what the system refuses
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(directory)) from error
        raise


def check_equal(exported: streams.TokenStream, original: streams.TokenStream) -> None:
    """Raises UserError unless both streams have the same tokens."""
    block = 1 << 20
    same = len(exported) == len(original) and all(
        np.array_equal(exported[i : i + block], original[i : i + block])
        for i in range(0, len(original), block)
    )
    if not same:
        raise errors.UserError(
            f"{exported.name} differs from {original.name} after writing: the storage lost data; "
            "export again, to another disk"
        )


def _write_array_record(stream: streams.TokenStream, directory: Path, dtype: np.dtype) -> int:
    """Writes a stream as `tokens_00000.array_record`, ...; returns the records written."""
    from array_record.python import array_record_module  # ty: ignore[missing-module-member]

    written = 0
    writer: Any = None
    for record in records_of(stream, dtype):
        if written % _RECORDS_PER_FILE == 0:
            if writer is not None:
                writer.close()
            path = directory / f"tokens_{written // _RECORDS_PER_FILE:05d}.array_record"
            # One record per group: the only layout with cheap random access.
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        writer.write(record.tobytes())
        written += 1
    if writer is not None:
        writer.close()
    return written


@functools.cache
def _builder_class():
    """Defined once: TFDS refuses a second class of the same name."""
    import tensorflow_datasets as tfds

    class TokenRecords(tfds.core.GeneratorBasedBuilder):
        """Fixed-size runs of token ids, in the order of the stream."""

        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, *, split_streams: dict[str, streams.TokenStream], **options):
            self._split_streams = split_streams
            super().__init__(**options)

        def _info(self):
            features = tfds.features.FeaturesDict(
                {"tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32)}
            )
            # Order is content here: the records make one stream.
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in self._split_streams}

        def _generate_examples(self, split):
            records = records_of(self._split_streams[split], np.dtype(np.int32))
            for number, record in enumerate(records):
                yield number, {"tokens": record}

    return TokenRecords


def _write_tfds(split_streams: dict[str, streams.TokenStream], directory: Path) -> int:
    """Writes the splits of one source as a TFDS dataset in `directory`; returns the records."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = _builder_class()(
        split_streams=split_streams, data_dir=str(directory), file_format="array_record"
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it reports a download that there is not
        builder.download_and_prepare()
    written = sum(info.num_examples for info in builder.info.splits.values())
    made = Path(builder.data_dir)
    os.rename(made, directory / "tfds")
    made.parent.rmdir()
    shutil.rmtree(directory / "downloads", ignore_errors=True)
    return written
