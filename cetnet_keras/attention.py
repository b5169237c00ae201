"""Attention over the tokens of a sequence, of which some are padding."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_HIDDEN = -1e9  # added to a score in float32, which holds it; float16 does not
_LENGTHS = (24,)  # where groups of like length end: our choice
_LONGEST_TURN = 10_000.0  # of RoFormer


def attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """softmax(Q K^T / sqrt(k)) V over the tokens that the mask counts; the softmax is float32 under any policy.

    Args:
        query: [B or 1, h, Q, k]. key, value: [B, h, T, k]. mask: [B, T], 1 for a token.
    Returns:
        [B, h, Q, k]; zero for an example without tokens.
    """
    query *= int(query.shape[-1]) ** -0.5  # before the product, which could leave the range of float16
    score = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [B, h, Q, T]
    hidden = (1 - tf.cast(mask, tf.float32)) * _HIDDEN
    weight = tf.cast(tf.nn.softmax(score + hidden[:, tf.newaxis, tf.newaxis, :]), value.dtype)
    return tf.matmul(weight, value * tf.cast(mask, value.dtype)[:, tf.newaxis, :, tf.newaxis])


def by_length(
    layer: Callable[..., tf.Tensor], tokens: tf.Tensor, mask: tf.Tensor, *others: tf.Tensor
) -> tf.Tensor:
    """Calls `layer` on the examples of like length at a time, so that none is padded to the longest of the batch.

    Attention costs the square of the length, histories are mostly short, and one long one is in every batch. Source:
    our choice; the values are those of one call.

    Args:
        layer: called with tokens, mask and others; what it makes of an example depends on its real tokens alone.
        tokens: [B, T, d]. mask: [B, T], 1 for a token. others: [B, ...].
    Returns:
        [B, T, d]; zero behind the last token of an example of its group that is longest.
    """
    steps = tf.shape(mask)[1]
    length = tf.reduce_max(tf.cast(mask > 0, tf.int32) * (1 + tf.range(steps)), axis=1)  # of tokens and gaps
    group = tf.reduce_sum([tf.cast(length > edge, tf.int32) for edge in _LENGTHS], axis=0)
    rows, found = [], []
    for number in range(len(_LENGTHS) + 1):
        own = tf.where(group == number)[:, 0]
        longest = tf.maximum(tf.reduce_max(tf.gather(length, own)), 0)
        part = layer(
            tf.gather(tokens, own)[:, :longest],
            tf.gather(mask, own)[:, :longest],
            *(tf.gather(other, own) for other in others),
        )
        rows.append(tf.cast(own, tf.int32))
        found.append(tf.pad(part, [[0, 0], [0, steps - longest], [0, 0]]))
    return tf.ensure_shape(tf.dynamic_stitch(rows, found), tokens.shape)


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
    angle = tf.range(tf.shape(x)[-2])
    angle = tf.cast(angle, tf.float32)[:, tf.newaxis] * turn  # [T, k / 2], one table for all examples
    cos, sin = tf.cast(tf.cos(angle), x.dtype), tf.cast(tf.sin(angle), x.dtype)
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cos - second * sin, second * cos + first * sin], axis=-1)


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
        self._in = tf.keras.layers.Dense(3 * self.heads * self._head, dtype=policy, name="query_key_value")
        self._out = tf.keras.layers.Dense(width, dtype=policy, name="out")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        parts = _heads(self._in(tokens), 3, self.heads, self._head)  # [3, B, h, T, k]
        turned = rotate(parts[:2])
        return self._out(_merged(attend(turned[0], turned[1], parts[2], mask)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class AttentionPooling(tf.keras.layers.Layer):
    """PMA: learned queries attend to the tokens, so that any number of tokens becomes a fixed number of rows.

    Source: pooling by multi-head attention of Set Transformer (arXiv 1810.00825), section 3.2. Its feed-forward parts and
    norms are left out: our choice.

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
        self._queries = self.add_weight("queries", [1, self.heads, self.rows, self._head])
        self._in = tf.keras.layers.Dense(2 * self.heads * self._head, dtype=policy, name="key_value")
        self._out = tf.keras.layers.Dense(width, dtype=policy, name="out")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        key, value = tf.unstack(_heads(self._in(tokens), 2, self.heads, self._head))
        return self._out(_merged(attend(tf.convert_to_tensor(self._queries), key, value, mask)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rows": self.rows, "heads": self.heads}


def _heads(x: tf.Tensor, parts: int, heads: int, width: int) -> tf.Tensor:
    """[B, T, parts h k] as [parts, B, h, T, k]."""
    shape = tf.shape(x)
    return tf.transpose(tf.reshape(x, [shape[0], shape[1], parts, heads, width]), [2, 0, 3, 1, 4])


def _merged(x: tf.Tensor) -> tf.Tensor:
    """[B, h, T, k] as [B, T, h k]."""
    steps = x.shape[2] or tf.shape(x)[2]  # the number itself where it is known: layers above are built for it
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [tf.shape(x)[0], steps, x.shape[1] * x.shape[3]])
