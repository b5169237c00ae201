"""The labels and weights of rows that a model learns from: their shapes, and what they cannot be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cetnet_keras.embeddings import FeatureBatch

Labelled = tuple[FeatureBatch, tf.Tensor] | tuple[FeatureBatch, tf.Tensor, tf.Tensor]
"""Features and label [B], or features, label [B] and weight [B]."""


def labelled(inputs: Any) -> tuple[FeatureBatch, tf.Tensor, tf.Tensor | None]:
    """The features, labels [B] and, where there are some, weights [B] of a batch, in float32.

    Raises:
        ValueError: no such batch, or labels or weights of several columns.
    """
    if not isinstance(inputs, tuple | list) or len(inputs) not in (2, 3):
        expected = "(inputs, label) or (inputs, label, weight)"
        raise ValueError(f"a batch to learn from must be {expected}. Received: {type(inputs).__name__}")
    batch, label, *weight = inputs
    return batch, _one_column("label", label), _one_column("weight", weight[0]) if weight else None


def _one_column(name: str, values: Any) -> tf.Tensor:
    """Values [B] or [B, 1] as [B] float32; ValueError for others."""
    if isinstance(values, Mapping):
        raise ValueError(f"`{name}` must be one tensor [B]. Received: a dict of {', '.join(values)}")
    values = tf.convert_to_tensor(values)
    if values.shape.rank is not None and values.shape[1:].as_list() not in ([], [1], [None]):
        raise ValueError(f"`{name}` must be one tensor [B]. Received: the shape {tuple(values.shape)}")
    return tf.cast(tf.reshape(values, [-1]), tf.float32)


def check_rows(label: tf.Tensor, weight: tf.Tensor) -> tf.Operation | None:
    """An op that fails where a label [B] is outside [0, 1] or a weight [B] below 0 or not finite.

    Returns:
        the op, which raises InvalidArgumentError; None where ops run at once.
    """
    sound = tf.reduce_all((label >= 0) & (label <= 1)) & tf.reduce_all(
        (weight >= 0) & tf.math.is_finite(weight)
    )
    ends = [
        part
        for name, values in (("label", label), ("weight", weight))
        for part in (f"{name} from", tf.reduce_min(values), "to", tf.reduce_max(values))
    ]
    return tf.debugging.Assert(
        sound, ["labels must be in [0, 1], 1 for a click, and weights finite and 0 or more; found", *ends]
    )


def check_targets(label: np.ndarray, weight: np.ndarray) -> None:
    """What `check_rows` refuses, of arrays [N], and weights of which none counts.

    Raises:
        ValueError: a label outside [0, 1], a weight below 0 or not finite, or no weight above 0.
    """
    for name, values, largest in (("label", label, 1), ("weight", weight, np.inf)):
        if not np.all((values >= 0) & (values <= largest) & np.isfinite(values)):
            found = f"{np.min(values)} to {np.max(values)}"
            raise ValueError(f"`{name}` must be finite, from 0 to {largest}. Received: {found}")
    if len(weight) and not np.any(weight):
        raise ValueError("`weight` must be above 0 for some row. Received: 0 for all")
