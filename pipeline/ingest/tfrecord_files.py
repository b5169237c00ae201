"""TFRecord files of tf.Examples: which features they have, and the rows as a stream of record batches.

TFX's own decoder reads them, but not its ImportExampleGen: that one knows no row key, no splits by time or by the hash of a
column, and no histories; and it names neither file nor row of what does not fit.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from cetnet_keras.errors import InputError
from pipeline.ingest.batches import Batch, Column, Fault

_ROWS = 4096  # a batch
_HEAD = 1000  # records that are looked at for the names of the features


def columns_of(path: str) -> list[Column]:
    """The features of the first 1,000 records; any of them may be in other records alone.

    Raises:
        InputError: the file holds something else than tf.Examples.
    """
    opener: Any = gzip.open if _is_gzip(path) else open
    try:
        with opener(path, "rb") as stream:
            records = list(islice(_records(stream), _HEAD))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise _broken(path, error) from error
    batch = _decoded(path, records, 1, _HEAD)
    if len(batch.faults) == len(records) > 0:
        raise InputError(f"{path}: row 1: {batch.faults[0].message}")
    return [Column(name, None) for name in batch.columns]


def _records(stream: Any) -> Iterator[bytes]:
    """The records of a file: length and its checksum, 12 bytes, then the bytes and their checksum, 4 bytes."""
    while header := stream.read(12):
        (length,) = struct.unpack("<Q", header[:8])
        record = stream.read(min(length, 1 << 31))  # more is no record, but bytes of something else
        if len(record) < length or len(stream.read(4)) < 4:
            raise EOFError("a record is cut off, or it is none")
        yield record


def read_batches(path: str, needed: list[str], limit: int) -> Iterator[Batch]:
    """Streams the needed features of a file, in its order of records; one that no record of a batch has is null there.

    Args:
        limit: faults to look for in a batch.
    Raises:
        InputError: the file cannot be read to its end, or a feature has values of several kinds.
    """
    import tensorflow as tf  # here: a check of the beginning does without

    row = 1
    records = tf.data.TFRecordDataset(path, "GZIP" if _is_gzip(path) else "").batch(_ROWS)
    try:
        for batch in records.as_numpy_iterator():
            found = _decoded(path, batch.tolist(), row, limit)
            absent = pa.nulls(len(found.number))
            yield found._replace(columns={name: found.columns.get(name, absent) for name in needed})
            row += len(batch)
    except tf.errors.OpError as error:
        raise _broken(path, error, f" after row {row - 1}") from error


def _decoded(path: str, records: list[bytes], row: int, limit: int) -> Batch:
    """All features of records of which the first is row `row`; the last of `limit` faults ends the batch."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder  # here: it takes a second

    decode = ExamplesToRecordBatchDecoder().DecodeBatch
    number = np.arange(row, row + len(records), dtype=np.int64)
    faults: list[Fault] = []
    try:
        batch = decode(records)
    except RuntimeError as error:
        sound = []
        for place, record in enumerate(records):
            try:
                decode([record])
                sound.append(place)
            except RuntimeError:
                faults.append(
                    Fault(row + place, "found bytes that are no tf.Example; write the record again")
                )
                if len(faults) == limit:
                    break
        if not faults:
            found = f"rows {row} to {number[-1]}: {str(error).splitlines()[0]}"
            cure = "expected values of one kind in each feature; write the file again"
            raise InputError(f"{path}: {found}, {cure}") from error
        whole = _decoded(path, [records[place] for place in sound], row, limit)
        return Batch(number[sound], whole.columns, faults)
    return Batch(number, dict(zip(batch.schema.names, batch.columns, strict=True)), faults)


def _is_gzip(path: str) -> bool:
    return path.lower().endswith(".gz")


def _broken(path: str, error: Exception, where: str = "") -> InputError:
    found = f"cannot be read as TFRecord{where} ({str(error).splitlines()[0]})"
    return InputError(f"{path}: {found}, expected a whole file of tf.Examples; write it again")
