"""Encodes typed rows as tf.Examples and writes them, a record batch at a time."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from cetnet_keras.spec import ROW_KEY, DataSpec
from pipeline.ingest.files import SPLITS
from pipeline.ingest.rows import SPLIT


def example_columns(spec: DataSpec) -> list[str]:
    """The features of a tf.Example: the spec's, the label, the group, the weight, the id columns and the row's key."""
    others = [spec.label, spec.group, spec.weight, *spec.id, ROW_KEY]
    return list(dict.fromkeys([*spec.raw_types, *(name for name in others if name is not None)]))


def to_examples(rows: pa.RecordBatch, columns: list[str]) -> list[bytes]:
    """Serialised tf.Examples: of flat columns one value a feature, none for a null; of lists as many as they have."""
    lists = [_as_lists(rows.column(rows.schema.get_field_index(name))) for name in columns]
    return RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(lists, columns))


def _as_lists(column: pa.Array) -> pa.ListArray:
    if pa.types.is_list(column.type):
        return column
    present = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
    absent = None if present.all() else np.append(~present, False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=absent), column.drop_null())


def write_examples(
    batches: Iterable[pa.RecordBatch], columns: list[str], part: int, folders: list[str]
) -> np.ndarray:
    """Writes one part of the data as gzipped TFRecord files, one in the folder of each split that has rows.

    The names depend on the part alone: writing a part again, after a failure, replaces it.

    Args:
        batches: typed rows with their split bits.
        part: number of a file or shard.
        folders: of train, eval and test.
    Returns:
        rows written [3].
    """
    from tensorflow.io import TFRecordWriter  # here: workers that do not write need no TensorFlow

    rows_written = np.zeros(len(SPLITS), np.int64)
    writers: dict[int, TFRecordWriter] = {}
    try:
        for rows in batches:
            bits = rows.column(rows.schema.get_field_index(SPLIT)).to_numpy()
            for position, folder in enumerate(folders):
                mine = (bits >> position & 1).astype(bool)
                if not mine.any():
                    continue
                if position not in writers:
                    writers[position] = TFRecordWriter(f"{folder}/data_tfrecord-{part:05d}.gz", "GZIP")
                for example in to_examples(rows if mine.all() else pc.filter(rows, pa.array(mine)), columns):
                    writers[position].write(example)
                rows_written[position] += mine.sum()
    finally:
        for writer in writers.values():
            writer.close()
    return rows_written
