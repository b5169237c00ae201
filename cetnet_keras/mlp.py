"""The multilayer perceptron that members are made of."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


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
        self._dense = [tf.keras.layers.Dense(width, self.activation, dtype=policy) for width in self.units]
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
