"""The linear layer and the multilayer perceptron that members are made of."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="cetnet")
class RowDense(tf.keras.layers.Dense):
    """`tf.keras.layers.Dense` that takes a tensor of rows as one matrix, and gives the same values.

    The stock layer makes of three axes a tensordot of thirty operations, which are most of what a member has to trace.
    Source: our choice, measured.

    Call arguments:
        inputs: [..., n] float, n fixed.
    Returns:
        [..., units].
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        sizes = inputs.shape[:-1]
        if len(sizes) == 1:
            return super().call(inputs)
        found = super().call(tf.reshape(inputs, [-1, inputs.shape[-1]]))
        if all(sizes[1:]):
            return tf.reshape(found, [-1, *sizes[1:], self.units])
        return tf.reshape(found, tf.concat([tf.shape(inputs)[:-1], [self.units]], axis=0))


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Mlp(tf.keras.layers.Layer):
    """Dense layers, each followed by an activation and dropout; the last one too.

    Args:
        units: width of each layer; empty gives the input back.
        activation: after each layer; anything that `tf.keras.activations.get` takes.
        dropout: share of units dropped in training, 0 to below 1.
    Call arguments:
        inputs: [..., n] float.
    Returns:
        [..., units[-1]].
    Raises:
        ValueError: a width is not above 0, or `dropout` is outside its range.
    """

    def __init__(
        self, units: Sequence[int], activation: Any = "relu", dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if any(width < 1 for width in units):
            raise ValueError(f"`units` must be above 0. Received: units={units!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}")
        self.units = tuple(units)
        self.activation = tf.keras.activations.get(activation)
        self.dropout = dropout
        policy = self.dtype_policy
        self._dense = [RowDense(width, self.activation, dtype=policy) for width in self.units]
        self._drop = tf.keras.layers.Dropout(dropout, dtype=policy) if dropout else None

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        for dense in self._dense:
            inputs = dense(inputs)
            if self._drop is not None:
                inputs = self._drop(inputs, training=training)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": list(self.units),
            "activation": tf.keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }
