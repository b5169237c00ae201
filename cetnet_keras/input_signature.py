"""What a model of a data spec is fed: keys, shapes and types, and a batch of missing values."""

import tensorflow as tf

from cetnet_keras.embeddings import missing_key
from cetnet_keras.spec import (
    BagFeature,
    DataSpec,
    PretrainedFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
)


def input_signature(spec: DataSpec) -> dict[str, tf.TensorSpec]:
    """Keys, shapes and dtypes of the FeatureBatch that models of this spec are fed; B and T are open."""
    signature: dict[str, tf.TensorSpec] = {}
    for name, feature in spec.features.items():
        if isinstance(feature, PretrainedFeature):
            continue
        if spec.has_ids(name):
            shape: list[int | None] = [None]
            if isinstance(feature, SequenceFeature | BagFeature):
                shape.append(None)
            elif isinstance(feature, TimestampFeature):
                shape.append(len(feature.parts))
            signature[name] = tf.TensorSpec(shape, tf.int64, name)
        else:
            width = [feature.dimension] if isinstance(feature, VectorFeature) else []
            signature[name] = tf.TensorSpec([None, *width], tf.float32, name)
            signature[missing_key(name)] = tf.TensorSpec([None], tf.float32, missing_key(name))
    return signature


def example_batch(spec: DataSpec, rows: int = 1) -> dict[str, tf.Tensor]:
    """A FeatureBatch of missing values: padding alone, one token long, and every number marked as missing."""
    batch = {}
    for key, entry in input_signature(spec).items():
        value = 0 if key in spec.features else 1  # a key that is no feature's is an indicator
        shape = [rows, *(size or 1 for size in entry.shape[1:])]
        batch[key] = tf.cast(tf.fill(shape, value), entry.dtype)
    return batch
