"""Batches of transformed examples: whole batches are parsed at once, nothing is done per row in Python."""

from collections.abc import Sequence
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
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of everything that Transform wrote, as dense tensors; the last batch may be smaller.

    Args:
        patterns: globs of gzipped TFRecord files.
        transformed: of the Transform component; it has the types.
        batch_size: rows a batch.
        shuffle_seed: shuffles files and rows, the same way for the same seed, and repeats for ever; none keeps the order.
    Returns:
        dataset of {key: [B]}, and [B, T] padded with 0 to the longest row of the batch, T at least 1, for tokens.
    """
    rows = records(patterns)
    if shuffle_seed is not None:
        rows = rows.shuffle(SHUFFLE_ROWS, seed=shuffle_seed).repeat()
    spec = transformed.transformed_feature_spec()

    def parse(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        return dense_batch(tf.io.parse_example(serialised, spec))

    return rows.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def records(patterns: Sequence[str]) -> tf.data.Dataset:
    """The serialised rows of gzipped TFRecord files, file by file in the order of their names."""
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


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
