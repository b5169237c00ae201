"""DIN: the part of a user's history that the candidate calls up."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.attention import masked_softmax
from cetnet_keras.behaviours import (
    candidate_embedding,
    flat_fields,
    length_groups,
    read_behaviours,
    tokens_of,
)
from cetnet_keras.embeddings import EmbeddedFeatures, mean_of_tokens
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import RowDense, on_rows


@tf.keras.utils.register_keras_serializable(package="cetnet")
class PairDense(tf.keras.layers.Dense):
    """A dense layer on [q | k | q - k | q * k] of a query q and a token k, which are never laid side by side.

    The kernel has a block for each of the four. What the difference adds to q and to k is added to their blocks, and q is
    mapped once for all tokens: half the multiplications. Source: our choice, measured.

    Call arguments:
        query: [B, n], or [B, T, n], one a token.
        tokens: [B, T, n].
    Returns:
        [B, T, units].
    """

    def build(self, input_shape: Any) -> None:
        super().build(tf.TensorShape([None, 4 * int(input_shape[-1])]))
        self.input_spec = None  # Dense's is that of the four side by side

    def call(self, query: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        of_query, of_token, of_difference, of_product = tf.split(tf.convert_to_tensor(self.kernel), 4)
        if query.shape.rank == 2:
            query = query[:, tf.newaxis]
        shared = self._map(query, of_query + of_difference)
        if self.use_bias:
            shared += self.bias
        own = tf.concat([of_token - of_difference, of_product], axis=0)
        return self.activation(self._map(tf.concat([tokens, query * tokens], axis=-1), own) + shared)

    def _map(self, rows: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return on_rows(lambda matrix: tf.matmul(matrix, kernel), rows, self.units)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class LocalActivation(tf.keras.layers.Layer):
    """DIN's activation unit: each token k is weighted by a(q, k) = MLP([q | k | q - k | q * k]) and summed.

    Source: Deep Interest Network (arXiv 1706.06978), section 4.3, equation 3. The difference, the product and the
    sigmoid come from its authors' code. That code has, against the paper's text, always a softmax of the scores over
    sqrt(n); the option of one, without the root, comes from FuxiCTR. The widths are our choice.

    Args:
        hidden: widths of the MLP before its last, linear unit.
        activation: of the MLP; a name that `tf.keras.activations.get` takes.
        softmax: whether the weights of a row are made to sum to 1; the paper leaves their sum as the strength of interest.
    Call arguments:
        query: [B, n], the candidate, or [B, T, n], what it asks each token.
        tokens: [B, T, n]. mask: [B, T], 1 for a token; padding has the weight 0.
    Returns:
        [B, n]; zero for a row without tokens.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 32),
        activation: str = "sigmoid",
        softmax: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden, self.activation, self.softmax = tuple(hidden), activation, softmax
        units: list[dict[str, Any]] = [{"units": width, "activation": activation} for width in self.hidden]
        units.append({"units": 1, "use_bias": not softmax})  # a softmax takes a bias out
        policy = self.dtype_policy
        self._first = PairDense(**units[0], dtype=policy, name="unit_0")
        self._others = [
            RowDense(**unit, dtype=policy, name=f"unit_{i}") for i, unit in enumerate(units[1:], 1)
        ]

    def call(self, query: tf.Tensor, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        tokens, mask = (
            tf.cast(tokens, query.dtype),
            tf.cast(mask, query.dtype),
        )  # Keras casts the first argument alone
        score = self._first(query, tokens)
        for unit in self._others:
            score = unit(score)
        score = score[:, :, 0]  # [B, T]
        if self.softmax:
            score = masked_softmax(score, mask)
        return tf.reduce_sum((score * mask)[:, :, tf.newaxis] * tokens, axis=1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": list(self.hidden),
            "activation": self.activation,
            "softmax": self.softmax,
        }


@register_member("din")
class DinMember(Member):
    """Fields, numbers and, for each behaviour, what the candidate calls up of it, through an MLP.

    A behaviour with a sequence that shares its vocabulary with a candidate field is attended to; the mean stands for any
    other. Sequences with one `align` are attended to together; one of them without a candidate is asked with zeros.
    Source: Deep Interest Network (arXiv 1706.06978); ReLU in place of its Dice, the mean and the zeros are our choice.

    Args:
        hidden: widths of the MLP; the last is the width of the output embedding.
        attention_hidden: widths of the activation unit.
        attention_activation: of the activation unit.
        attention_softmax: whether attention weights sum to 1.
    Output embedding:
        the last layer of the MLP.
    Raises:
        ValueError: a spec without a sequence.
    """

    def __init__(
        self,
        *args: Any,
        hidden: Sequence[int] = (128, 64),
        attention_hidden: Sequence[int] = (64, 32),
        attention_activation: str = "sigmoid",
        attention_softmax: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.hidden, self.attention_hidden = tuple(hidden), tuple(attention_hidden)
        self.attention_activation, self.attention_softmax = attention_activation, attention_softmax
        self._behaviours = read_behaviours(self.spec, "din")
        self._attention = [
            LocalActivation(
                attention_hidden,
                attention_activation,
                attention_softmax,
                dtype=self.dtype_policy,
                name=f"attention_{i}",
            )
            for i, behaviour in enumerate(self._behaviours)
            if behaviour.candidates
        ]
        self._mlp = self.mlp(self.hidden, "mlp")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        interests, attention = [], iter(self._attention)
        for behaviour in self._behaviours:
            tokens, mask = tokens_of(features, behaviour)
            if behaviour.candidates:
                query, unit = candidate_embedding(features, self.spec, behaviour), next(attention)
                groups = length_groups(tokens, mask)
                found = [unit(tf.gather(query, own.rows), own.tokens, own.mask) for own in groups]
                interests.append(tf.dynamic_stitch([own.rows for own in groups], found))
            else:
                interests.append(mean_of_tokens(tokens, mask))
        together = tf.concat([flat_fields(features), features.dense, *interests], axis=-1)
        return self._mlp(together, training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": list(self.hidden),
            "attention_hidden": list(self.attention_hidden),
            "attention_activation": self.attention_activation,
            "attention_softmax": self.attention_softmax,
        }
