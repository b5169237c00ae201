"""What a model of a data spec is fed: keys, shapes and types, a batch of missing values, and what it cannot be fed."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from cetnet_keras.embeddings import FeatureBatch, dense_names, missing_key
from cetnet_keras.spec import (
    BagFeature,
    DataSpec,
    PretrainedFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
)

NUMBERS_CHECK = "numbers must be finite"  # what a failed check is known by


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


def check_keys(spec: DataSpec, batch: Any) -> None:
    """Refuses what is no FeatureBatch of the spec, by its keys, types and shapes alone: a traced graph has nothing of it.

    Raises:
        ValueError: no mapping, a key that is lacking, text where ids or numbers are expected, numbers where ids are, a
            ragged or sparse tensor, or another number of axes.
    """
    signature = input_signature(spec)
    if not isinstance(batch, Mapping):
        expected = f"a dict of {', '.join(signature)}"
        raise ValueError(f"a batch must be {expected}. Received: {type(batch).__name__}")
    if lacking := [key for key in signature if key not in batch]:
        cure = f"{missing_key('NAME')} is 1 where a number was missing, else 0"
        raise ValueError(f"a batch lacks {', '.join(lacking)}; {cure}. Received: {', '.join(batch)}")
    for key, entry in signature.items():
        if mistake := _mistake(entry, batch[key]):
            raise ValueError(f"{key!r} must be {entry.dtype.name}, found {mistake}")


def _axes(entry: tf.TensorSpec) -> str:
    """[B], [B, T] or, of a known width, [B, 3]."""
    return f"[{', '.join(['B', *(str(size or 'T') for size in entry.shape[1:])])}]"


def _mistake(entry: tf.TensorSpec, value: Any) -> str | None:
    """What a value is that cannot be fed, and the cure; None where nothing is wrong, or nothing is known."""
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        cure = "`to_tensor()`" if isinstance(value, tf.RaggedTensor) else "`tf.sparse.to_dense`"
        return f"a {type(value).__name__}: pad it with 0 at the end, as {cure} does"
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return None
    if dtype in (tf.string, object) or tf.as_dtype(dtype) == tf.string:
        return "text: look its tokens up first, as tf.keras.layers.StringLookup does"
    if entry.dtype.is_integer and tf.as_dtype(dtype).is_floating:
        return f"{tf.as_dtype(dtype).name}: an id is a whole number, 0 where it is missing"
    shape, wanted = tf.TensorShape(shape), entry.shape
    a_column = wanted.rank == 1 and shape.rank == 2 and shape[1] in (1, None)  # of one number a row
    if shape.rank in (None, wanted.rank) or a_column:
        return None
    return f"the shape {tuple(shape.as_list())}: its axes are {_axes(entry)}"


def check_ids(
    spec: DataSpec, vocabulary_sizes: Mapping[str, int], batch: FeatureBatch
) -> tf.Operation | None:
    """An op that fails where an id is above the size of its vocabulary: it would read another feature's rows.

    Returns:
        the op, which raises InvalidArgumentError; None where ops run at once.
    Raises:
        ValueError: as `check_keys`.
    """
    check_keys(spec, batch)
    sizes = {name: vocabulary_sizes[spec.owner(name)] for name in spec.features if spec.has_ids(name)}
    if not sizes:
        return tf.no_op()
    largest = tf.stack([tf.reduce_max(tf.cast(batch[name], tf.int64)) for name in sizes])
    return tf.debugging.Assert(
        tf.reduce_all(largest <= list(sizes.values())),
        [
            f"ids must not be above `vocabulary_sizes`; largest ids of {', '.join(sizes)}:",
            largest,
            "sizes:",
            tf.constant(list(sizes.values()), tf.int64),
        ],
        summarize=-1,
    )


def check_numbers(spec: DataSpec, batch: FeatureBatch, dtype: str) -> tf.Operation | None:
    """An op that fails where a number is NaN or infinite: it would spoil the statistics of batch norms for good.

    Args:
        batch: with the keys of the spec.
        dtype: that a model computes in; a number may be too large for float16.

    Returns:
        the op, which raises InvalidArgumentError and names the keys; None where ops run at once.
    """
    names = dense_names(spec)
    if not names:
        return tf.no_op()
    bad = ~tf.stack([tf.reduce_all(tf.math.is_finite(tf.cast(batch[name], dtype))) for name in names])
    scale = ", scale what is above 65504, the largest of float16" if dtype == "float16" else ""
    cure = f"give 0, and {missing_key('NAME')} 1, where one is missing{scale}; not finite:"
    return tf.debugging.Assert(
        ~tf.reduce_any(bad), [f"{NUMBERS_CHECK}; {cure}", tf.boolean_mask(list(names), bad)], summarize=-1
    )
