"""DeepFM: all pairwise products, first-order terms and a deep network on the same embeddings."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.behaviours import flat_features, with_pooled_rows
from cetnet_keras.embeddings import EmbeddedFeatures, dense_names
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import RowDense


@tf.keras.utils.register_keras_serializable(package="cetnet")
class NumberRows(tf.keras.layers.Layer):
    """Numbers as rows that pair with every other row: x_k v_k, v_k learned.

    Source: Rendle 2010, equation 1, where a feature of the value x_k has the vector v_k.

    Call arguments:
        numbers: [B, N] float.
    Returns:
        [B, N, width].
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape: Any) -> None:
        self._vectors = self.add_weight("vectors", [int(input_shape[-1]), self.width])
        super().build(input_shape)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        return numbers[:, :, tf.newaxis] * tf.cast(self._vectors, numbers.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"width": self.width}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FactorisationMachine(tf.keras.layers.Layer):
    """Sum over all pairs i < j of v_i * v_j, element by element: ((sum v)^2 - sum v^2) / 2.

    The sum of the result's d values is the second-order term of a factorisation machine. Source: Rendle 2010, equation 1
    and lemma 3.1; kept as a vector, as in Neural FM's bi-interaction (arXiv 1708.05027, equation 4).

    Call arguments:
        rows: [B, n, d] float.
    Returns:
        [B, d].
    """

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        of_sum = tf.square(tf.reduce_sum(rows, axis=1))
        return (of_sum - tf.reduce_sum(tf.square(rows), axis=1)) / 2


@register_member("deepfm")
class DeepFmMember(Member):
    """A factorisation machine beside an MLP, on one set of embeddings.

    Rows of the machine: fields, each number times a vector, the mean of each sequence. Its first-order term is a learned
    number for each row, w . v_i, so that members have one table each. Source: DeepFM (arXiv 1703.04247), equations 1 to 4;
    there each id has a first-order weight of its own and the terms are summed. Here they stay apart in the output
    embedding, whose projection to the logit is linear, so that the sum is one of its values: our choice.

    Args:
        hidden: widths of the MLP.
    Output embedding:
        [first order, a number a row | pairs, d | MLP].
    """

    def __init__(self, *args: Any, hidden: Sequence[int] = (128, 64), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hidden, policy = tuple(hidden), self.dtype_policy
        self._numbers = None
        if dense_names(self.spec):
            self._numbers = NumberRows(self.embedding_dim, dtype=policy, name="numbers")
        self._first_order = RowDense(1, use_bias=False, dtype=policy, name="first_order")
        self._pairs = FactorisationMachine(dtype=policy, name="pairs")
        self._deep = self.mlp(self.hidden, "deep")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        own = features.fields
        if self._numbers is not None:
            own = tf.concat([own, self._numbers(features.dense)], axis=1)
        rows = with_pooled_rows(own, features)  # [B, n, d]
        first_order = self._first_order(rows)[:, :, 0]  # [B, n]
        deep = self._deep(flat_features(features), training=training)
        return tf.concat([first_order, self._pairs(rows), deep], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden": list(self.hidden)}
