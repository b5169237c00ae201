"""Fields and numbers as rows of one width, for members that look at how rows interact."""

from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FieldRows(tf.keras.layers.Layer):
    """The fields and, where there are numbers, one row more: a linear map of all of them.

    Source: InterFormer (arXiv 2411.09852), where dense features are one d-wide row.

    Call arguments:
        inputs: the fields [B, F, d] and the numbers [B, N] of EmbeddedFeatures.
    Returns:
        [B, F + 1, d], or [B, F, d] where N is 0.
    """

    def build(self, input_shape: Any) -> None:
        width, numbers = int(input_shape[0][2]), int(input_shape[1][1])
        self._map = tf.keras.layers.Dense(width, dtype=self.dtype_policy, name="numbers") if numbers else None
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        fields, dense = inputs
        if self._map is None:
            return fields
        return tf.concat([fields, self._map(dense)[:, tf.newaxis]], axis=1)
