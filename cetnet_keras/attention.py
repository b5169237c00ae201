"""Attention over the tokens of a sequence, of which some are padding."""

from typing import Any

import tensorflow as tf

from cetnet_keras.mlp import RowDense

_HIDDEN = -1e9  # added to a score in float32, which holds it; float16 does not
_LONGEST_TURN = 10_000.0  # of RoFormer


def attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """softmax(Q K^T / sqrt(k)) V over the tokens that the mask counts; the softmax is float32 under any policy.

    Args:
        query: [B, h, Q, k]. key, value: [B, h, T, k]. mask: [B, T], 1 for a token.
    Returns:
        [B, h, Q, k]; zero for an example without tokens.
    """
    query *= int(query.shape[-1]) ** -0.5  # before the product, which could leave the range of float16
    mask = tf.cast(mask, value.dtype)[:, tf.newaxis, tf.newaxis, :]
    weight = masked_softmax(tf.matmul(query, key, transpose_b=True), mask)  # [B, h, Q, T]
    return tf.matmul(weight, value * tf.linalg.matrix_transpose(mask))


def masked_softmax(score: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis that leaves out where the mask is 0; computed in float32 whatever the type of `score`.

    Args:
        score: [..., T]. mask: of a shape that broadcasts to it.
    Returns:
        shape and type of `score`; what has no meaning where the mask is 0 everywhere.
    """
    hidden = (1 - tf.cast(mask, tf.float32)) * _HIDDEN
    return tf.cast(tf.nn.softmax(tf.cast(score, tf.float32) + hidden), score.dtype)


def check_heads(heads: int, width: int) -> None:
    """Raises ValueError where a width cannot be cut into so many heads."""
    if heads < 1 or width % heads:
        raise ValueError(
            f"`heads` must divide the width {width} of what it attends to. Received: heads={heads!r}"
        )


def head_width(width: int, heads: int) -> int:
    """Width of one of `heads` that share `width`, rounded up to an even number, since a rotation turns pairs."""
    return 2 * -(-width // (2 * heads))


def rotate(x: tf.Tensor) -> tf.Tensor:
    """Rotary positions: turns the pair (i, i + k / 2) of the token at position m by m / 10000^(2 i / k).

    A product of two turned vectors depends on how far apart they stand alone. Source: RoFormer (arXiv 2104.09864),
    section 3.2; its pairs are neighbours, which is the same but for the order of the columns.

    Args:
        x: [..., T, k] float, k even.
    Returns:
        The shape of `x`.
    """
    half = int(x.shape[-1]) // 2
    turn = _LONGEST_TURN ** (-tf.range(half, dtype=tf.float32) / half)
    place = tf.range(tf.shape(x)[-2])
    angle = tf.cast(place, tf.float32)[:, tf.newaxis] * turn  # [T, k / 2], one table for all examples
    cos, sin = tf.cos(angle), tf.sin(angle)
    cos, sin = tf.concat([cos, cos], axis=-1), tf.concat([-sin, sin], axis=-1)
    first, second = tf.split(x, 2, axis=-1)
    return x * tf.cast(cos, x.dtype) + tf.concat([second, first], axis=-1) * tf.cast(sin, x.dtype)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class RotaryAttention(tf.keras.layers.Layer):
    """Multi-head self-attention with rotary positions; padding is never attended to.

    Source: attention is Vaswani et al. 2017 (arXiv 1706.03762), section 3.2; positions are RoFormer's (arXiv
    2104.09864). A head is width / heads wide, rounded up to an even number: our choice.

    Args:
        heads: number of heads, 1 or more.
    Call arguments:
        tokens: [B, T, d] float. mask: [B, T], 1 for a token.
    Returns:
        [B, T, d]; what stands at the place of padding has no meaning.
    Raises:
        ValueError: `heads` is below 1.
    """

    def __init__(self, heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if heads < 1:
            raise ValueError(f"`heads` must be 1 or more. Received: heads={heads!r}")
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        width, policy = int(input_shape[-1]), self.dtype_policy
        self._head = head_width(width, self.heads)
        self._in = RowDense(3 * self.heads * self._head, dtype=policy, name="query_key_value")
        self._out = RowDense(width, dtype=policy, name="out")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        size, steps = tf.shape(tokens)[0], tf.shape(tokens)[1]
        parts = tf.reshape(self._in(tokens), [size, steps, 3, self.heads, self._head])
        both, value = tf.split(tf.transpose(parts, [2, 0, 3, 1, 4]), [2, 1])  # each [., B, h, T, k]
        query, key = tf.unstack(rotate(both))
        found = attend(query, key, tf.squeeze(value, 0), mask)
        found = tf.transpose(found, [0, 2, 1, 3])  # [B, T, h, k]
        return self._out(tf.reshape(found, [size, steps, self.heads * self._head]))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class AttentionPooling(tf.keras.layers.Layer):
    """PMA: learned queries attend to the tokens, so that any number of tokens becomes a fixed number of rows.

    For a query q of a head: softmax_t(s_t W_k q / sqrt(k)) weighs the tokens s_t, whose weighted sum W_v maps. That is
    multi-head attention, with the maps of keys and values moved to where there are no tokens. Source: pooling by
    multi-head attention of Set Transformer (arXiv 1810.00825), section 3.2. Its feed-forward parts and norms
    are left out, and so are the biases of keys and values, of which the softmax takes out the one and the last map's
    bias is the other: our choice.

    Args:
        rows: number of learned queries, 1 or more.
        heads: number of heads, 1 or more.
    Call arguments:
        tokens: [B, T, d] float. mask: [B, T], 1 for a token.
    Returns:
        [B, rows, d].
    Raises:
        ValueError: `rows` or `heads` is below 1.
    """

    def __init__(self, rows: int = 2, heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if rows < 1 or heads < 1:
            raise ValueError(
                f"`rows` and `heads` must be 1 or more. Received: rows={rows!r}, heads={heads!r}"
            )
        self.rows, self.heads = rows, heads

    def build(self, input_shape: Any) -> None:
        width, policy = int(input_shape[-1]), self.dtype_policy
        self._head = head_width(width, self.heads)
        self._queries = self.add_weight("queries", [self.heads, self._head, self.rows])
        self._key = self.add_weight("key", [width, self.heads * self._head])
        self._value = self.add_weight("value", [width, self.heads * self._head])
        self._out = RowDense(width, dtype=policy, name="out")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        width, size, steps = tokens.shape[-1], tf.shape(tokens)[0], tf.shape(tokens)[1]
        key = self._by_head(self._key) * self._head**-0.5  # [h, d, k]
        asked = tf.transpose(tf.matmul(key, tf.convert_to_tensor(self._queries)), [1, 0, 2])  # [d, h, Q]
        asked = tf.reshape(asked, [width, self.heads * self.rows])
        score = tf.reshape(tf.matmul(tf.reshape(tokens, [-1, width]), asked), [size, steps, asked.shape[1]])
        mask = tf.cast(mask, tokens.dtype)[:, tf.newaxis]
        weight = masked_softmax(tf.transpose(score, [0, 2, 1]), mask) * mask  # [B, h Q, T]
        seen = tf.reshape(tf.matmul(weight, tokens), [size, self.heads, self.rows, width])
        seen = tf.reshape(tf.transpose(seen, [1, 0, 2, 3]), [self.heads, -1, width])  # [h, B Q, d]
        found = tf.transpose(tf.matmul(seen, self._by_head(self._value)), [1, 0, 2])  # [B Q, h, k]
        return self._out(tf.reshape(found, [size, self.rows, self.heads * self._head]))

    def _by_head(self, weight: tf.Tensor) -> tf.Tensor:
        """[d, h k] as [h, d, k]."""
        parts = tf.reshape(weight, [weight.shape[0], self.heads, self._head])
        return tf.transpose(parts, [1, 0, 2])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rows": self.rows, "heads": self.heads}
