"""Batches of transformed examples: whole batches are parsed at once, nothing is done per row in Python."""

from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from cetnet_keras.input_signature import input_signature
from cetnet_keras.spec import DataSpec

SHUFFLE_ROWS = 200_000  # serialised rows held to shuffle among


def transformed_batches(
    patterns: Sequence[str],
    transformed: tft.TFTransformOutput,
    batch_size: int,
) -> tf.data.Dataset:
    """Batches of everything that Transform wrote, as dense tensors, in its order; the last batch may be smaller.

    Args:
        patterns: globs of gzipped TFRecord files.
        transformed: of the Transform component; it has the types.
        batch_size: rows a batch.
    Returns:
        dataset of {key: [B]}, and [B, T] padded with 0 to the longest row of the batch, T at least 1, for tokens.
    """
    return parsed_batches(records(patterns), transformed, batch_size)


def parsed_batches(
    rows: tf.data.Dataset, transformed: tft.TFTransformOutput, batch_size: int
) -> tf.data.Dataset:
    """As `transformed_batches`, of serialised rows."""
    spec = transformed.transformed_feature_spec()

    def parse(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        return dense_batch(tf.io.parse_example(serialised, spec))

    return rows.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def records(patterns: Sequence[str]) -> tf.data.Dataset:
    """The serialised rows of gzipped TFRecord files, file by file in the order of their names."""
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


def shuffled_records(patterns: Sequence[str], rows: int, seed: int, scratch: Path) -> tf.data.Dataset:
    """The serialised rows of gzipped TFRecord files, over and over, each pass in an order of its own.

    Files are often sorted, by time or by label. Where memory does not hold all rows, they are dealt out by their hash to
    files of about as many as it does, and a pass goes through them, each shuffled by itself.
    The same seed gives the same order. Source: our choice, the usual shuffle in two passes.

    Args:
        rows: how many there are.
        scratch: a folder for those files, which are made once.
    """
    stored, buckets = records(patterns), -(-rows // SHUFFLE_ROWS)
    if buckets == 1:
        return stored.shuffle(SHUFFLE_ROWS, seed=seed).repeat()
    path = str(scratch / "dealt_out")
    if not tf.io.gfile.exists(path):
        deal = partial(tf.strings.to_hash_bucket_fast, num_buckets=buckets)
        stored.save(path, compression="GZIP", shard_func=deal)

    def dealt_out(number: int) -> tf.data.Dataset:
        def one_file(files: tf.data.Dataset) -> tf.data.Dataset:
            return files.skip(number).take(1).flat_map(lambda file: file)

        # each by itself: a buffer for all would hold the first rows of the next, which are sorted, beside those of this;
        # a hash fills files unequally, but none with twice as many rows as another
        file = tf.data.Dataset.load(path, compression="GZIP", reader_func=one_file)
        return file.shuffle(2 * SHUFFLE_ROWS, seed=seed + number)

    return reduce(tf.data.Dataset.concatenate, map(dealt_out, range(buckets))).repeat()


def dense_batch(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
    """A transformed batch with its tokens dense: [B, T], padded with 0, T at least 1."""
    return {
        key: _padded(value) if isinstance(value, tf.SparseTensor) else value for key, value in batch.items()
    }


def _padded(tokens: tf.SparseTensor) -> tf.Tensor:
    rows, length = tokens.dense_shape[0], tf.maximum(tokens.dense_shape[1], 1)
    return tf.sparse.to_dense(tf.SparseTensor(tokens.indices, tokens.values, [rows, length]))


def inputs_of(spec: DataSpec, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The part of a batch that the model is fed."""
    return {key: batch[key] for key in input_signature(spec)}
