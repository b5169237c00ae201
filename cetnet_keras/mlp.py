"""The linear layer and the multilayer perceptron that members are made of."""

from collections.abc import Callable, Sequence
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
        return on_rows(super().call, inputs, self.units)


def on_rows(function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, units: int) -> tf.Tensor:
    """A function from matrices [N, n] to [N, units] on a tensor [..., n], n fixed: [..., units]."""
    sizes = inputs.shape[:-1]
    if len(sizes) == 1:
        return function(inputs)
    found = function(tf.reshape(inputs, [-1, inputs.shape[-1]]))
    if all(sizes[1:]):
        return tf.reshape(found, [-1, *sizes[1:], units])
    return tf.reshape(found, tf.concat([tf.shape(inputs)[:-1], [units]], axis=0))


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Mlp(tf.keras.layers.Layer):
    """Dense layers, each followed by batch normalisation if asked for, an activation and dropout; the last one too.

    Source: FuxiCTR's order of these. Units are normalised over the global batch: N replicas give one replica's numbers,
    as long as each has a row.

    Args:
        units: width of each layer; empty gives the input back.
        activation: after each layer; anything that `tf.keras.activations.get` takes.
        dropout: share of units dropped in training, 0 to below 1.
        batch_norm: whether units are normalised over the batch; not for tokens, whose padding would count.
    Call arguments:
        inputs: [..., n] float.
    Returns:
        [..., units[-1]].
    Raises:
        ValueError: a width is not above 0, or `dropout` is outside its range.
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: Any = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if any(width < 1 for width in units):
            raise ValueError(f"`units` must be above 0. Received: units={units!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}")
        self.units = tuple(units)
        self.activation = tf.keras.activations.get(activation)
        self.dropout, self.batch_norm, policy = dropout, batch_norm, self.dtype_policy
        follows = None if batch_norm else self.activation  # the activation stands behind the norm
        self._dense = [self.make_layer(width, follows) for width in self.units]
        self._norms = [
            tf.keras.layers.BatchNormalization(
                momentum=0.9, epsilon=1e-5, synchronized=True, dtype=policy, name=f"norm_{i}"
            )
            for i in range(len(self.units) if batch_norm else 0)
        ]
        self._drop = tf.keras.layers.Dropout(dropout, dtype=policy) if dropout else None

    def make_layer(self, units: int, activation: Any) -> tf.keras.layers.Layer:
        """One of the layers; a subclass may have others."""
        return RowDense(units, activation, use_bias=not self.batch_norm, dtype=self.dtype_policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        for place, dense in enumerate(self._dense):
            inputs = dense(inputs)
            if self._norms:
                inputs = self.activation(self._norms[place](inputs, training=training))
            if self._drop is not None:
                inputs = self._drop(inputs, training=training)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": list(self.units),
            "activation": tf.keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
        }
