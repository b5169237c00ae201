"""DMIN: several interests of a user, each called up by the candidate for itself."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.attention import check_heads, masked_softmax
from cetnet_keras.behaviours import (
    Behaviour,
    candidate_embedding,
    flat_fields,
    length_groups,
    read_behaviours,
    tokens_of,
)
from cetnet_keras.embeddings import EmbeddedFeatures, mean_of_tokens
from cetnet_keras.members.base import Member
from cetnet_keras.members.din import LocalActivation
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import Mlp, RowDense
from cetnet_keras.spec import PretrainedFeature

_EPSILON = 1e-5  # of the layer norms


@tf.keras.utils.register_keras_serializable(package="cetnet")
class CausalAttention(tf.keras.layers.Layer):
    """softmax(Q K^T / sqrt(k)) V of each head over the tokens up to its own; padding is never attended to.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2, with the mask of the authors' code of DMIN.

    Args:
        heads: number of heads; they divide the width of the tokens.
        use_bias: of the maps to query, key and value.
    Call arguments:
        tokens: [B, T, n] float. mask: [B, T], 1 for a token.
    Returns:
        [B, T, heads, n / heads]; what stands at the place of padding has no meaning.
    Raises:
        ValueError: a width that `heads` does not divide.
    """

    def __init__(self, heads: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.use_bias = heads, use_bias

    def build(self, input_shape: Any) -> None:
        width = int(input_shape[-1])
        check_heads(self.heads, width)
        self._in = RowDense(
            3 * width, use_bias=self.use_bias, dtype=self.dtype_policy, name="query_key_value"
        )
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        size, steps, head = tf.shape(tokens)[0], tf.shape(tokens)[1], tokens.shape[-1] // self.heads
        parts = tf.reshape(self._in(tokens), [size, steps, 3, self.heads, head])
        query, key, value = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))  # [B, h, T, k]
        earlier = tf.linalg.band_part(tf.ones([steps, steps], mask.dtype), -1, 0)
        seen = earlier * mask[:, tf.newaxis, tf.newaxis, :]  # [B, 1, T, T]
        score = tf.matmul(query * head**-0.5, key, transpose_b=True)
        return tf.transpose(tf.matmul(masked_softmax(score, seen), value), [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads, "use_bias": self.use_bias}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Refined(tf.keras.layers.Layer):
    """s = Norm(x + Drop(W a)), then s + FFN(s), with FFN of one ReLU layer twice as wide: what follows an attention.

    Source: DMIN (Xiao et al., CIKM 2020), equations 2 to 6, with the residuals and the norm of FuxiCTR's code.

    Args:
        use_bias: of W. dropout: share of W a dropped in training.
    Call arguments:
        tokens: x, [B, T, n]. attended: a, [B, T, k].
    Returns:
        [B, T, n].
    """

    def __init__(self, use_bias: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias, self.dropout = use_bias, dropout
        self._drop = tf.keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        width, policy = int(input_shape[-1]), self.dtype_policy
        self._out = RowDense(width, use_bias=self.use_bias, dtype=policy, name="out")
        self._norm = tf.keras.layers.LayerNormalization(epsilon=_EPSILON, dtype=policy, name="norm")
        self._wide = RowDense(2 * width, "relu", dtype=policy, name="wide")
        self._narrow = RowDense(width, dtype=policy, name="narrow")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, attended: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        s = self._norm(tokens + self._drop(self._out(tf.cast(attended, tokens.dtype)), training=training))
        return s + self._narrow(self._wide(s))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"use_bias": self.use_bias, "dropout": self.dropout}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class MultiInterest(tf.keras.layers.Layer):
    """The interests of a history, one a head: self-attention refines the tokens, each head calls them up in its own way.

    The candidate that a head asks with is W [q | p_t], p_t a learned vector of how long ago the token was.
    Source: DMIN (Xiao et al., CIKM 2020), sections 2.2 to 2.4, as in FuxiCTR's code; positions are counted from the last
    token, as its padding in front has it.

    Args:
        heads: number of interests; they divide the width of the tokens.
        attention_hidden: widths of each activation unit.
        position_dim: width of p_t; 0: the candidate asks as it is.
        max_length: most tokens of a history; older ones share the last position.
        dropout: share of attended values dropped in training.
    Call arguments:
        query: [B, n], the candidate. tokens: [B, T, n]. mask: [B, T], 1 for a token.
    Returns:
        [B, heads n]; zero for a row without tokens.
    Raises:
        ValueError: a width that `heads` does not divide.
    """

    def __init__(
        self,
        heads: int,
        attention_hidden: Sequence[int] = (80, 40),
        position_dim: int = 8,
        max_length: int = 100,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads, self.attention_hidden = heads, tuple(attention_hidden)
        self.position_dim, self.max_length, self.dropout = position_dim, max_length, dropout
        policy, every = self.dtype_policy, range(heads)
        self._refine = CausalAttention(heads, dtype=policy, name="refine")
        self._refined = Refined(dropout=dropout, dtype=policy, name="refined")
        self._extract = CausalAttention(heads, use_bias=False, dtype=policy, name="extract")
        self._heads = [
            Refined(use_bias=False, dropout=dropout, dtype=policy, name=f"head_{h}") for h in every
        ]
        self._units = [
            LocalActivation(self.attention_hidden, "relu", softmax=True, dtype=policy, name=f"unit_{h}")
            for h in every
        ]

    def build(self, input_shape: Any) -> None:
        width, policy = int(input_shape[-1]), self.dtype_policy
        self._asked = []
        if self.position_dim:
            shape = [self.heads, self.max_length, self.position_dim]
            self._positions = self.add_weight("positions", shape, initializer="zeros")
            self._asked = [RowDense(width, dtype=policy, name=f"ask_{h}") for h in range(self.heads)]
        super().build(input_shape)

    def call(
        self, query: tf.Tensor, tokens: tf.Tensor, mask: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        tokens, mask = tf.cast(tokens, query.dtype), tf.cast(mask, query.dtype)
        tokens *= mask[:, :, tf.newaxis]
        flat = tf.concat([tf.shape(tokens)[:2], [tokens.shape[-1]]], axis=0)
        refined = self._refined(tokens, tf.reshape(self._refine(tokens, mask), flat), training=training)
        refined *= mask[:, :, tf.newaxis]
        attended, interests = tf.unstack(self._extract(refined, mask), axis=2, num=self.heads), []
        counted = tf.cast(mask > 0, tf.int32)  # bfloat16 counts no further than 256
        later = tf.cumsum(counted, axis=1, exclusive=True, reverse=True)  # tokens after each
        place = tf.minimum(later, self.max_length - 1)
        for head in range(self.heads):
            interest, asked = self._heads[head](refined, attended[head], training=training), query
            if self._asked:
                position = tf.gather(tf.cast(self._positions[head], query.dtype), place)
                of_each = tf.zeros_like(tokens) + query[:, tf.newaxis]
                asked = self._asked[head](tf.concat([of_each, position], axis=-1))
            interests.append(self._units[head](asked, interest, mask))
        return tf.concat(interests, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "heads": self.heads,
            "attention_hidden": list(self.attention_hidden),
            "position_dim": self.position_dim,
            "max_length": self.max_length,
            "dropout": self.dropout,
        }


@register_member("dmin")
class DminMember(Member):
    """Fields, numbers and, for each behaviour, several interests that the candidate calls up, through an MLP.

    A behaviour with a sequence that shares its vocabulary with a candidate field has interests; the mean stands for any
    other, and zeros for the candidate of an aligned sequence that has none.
    Source: Deep Multi-Interest Network (Xiao et al., CIKM 2020, DOI 10.1145/3340531.3412092), as in FuxiCTR's code; ReLU
    in place of Dice, no auxiliary loss, no sum of the history and no product of it with the candidate (which FuxiCTR's
    settings leave out too), the mean and the zeros are our choice. FuxiCTR's first attention adds 1 to the scores of later
    tokens and of padding, by the mask that it hands to PyTorch; here they are hidden.

    Args:
        hidden: widths of the MLP; the last is the width of the output embedding.
        heads: interests of a behaviour; they divide its width, embedding_dim times its sequences.
        attention_hidden: widths of the activation units.
        position_dim: width of what is learned of how long ago a token was; 0 leaves it out.
    Output embedding:
        the last layer of the MLP.
    Raises:
        ValueError: a spec without a sequence, a width that `heads` does not divide.
    """

    def __init__(
        self,
        *args: Any,
        hidden: Sequence[int] = (128, 64),
        heads: int = 4,
        attention_hidden: Sequence[int] = (80, 40),
        position_dim: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.hidden, self.heads, self.position_dim = tuple(hidden), heads, position_dim
        self.attention_hidden = tuple(attention_hidden)
        if position_dim < 0:
            raise ValueError(f"`position_dim` must be 0 or more. Received: position_dim={position_dim!r}")
        self._behaviours = read_behaviours(self.spec, "dmin")
        for behaviour in self._behaviours:
            if behaviour.candidates:
                check_heads(heads, self.embedding_dim * len(behaviour.sequences))
        self._interests = [
            MultiInterest(
                heads,
                attention_hidden,
                position_dim,
                self._length(behaviour),
                self.dropout,
                dtype=self.dtype_policy,
                name=f"interests_{i}",
            )
            for i, behaviour in enumerate(self._behaviours)
            if behaviour.candidates
        ]
        self._mlp: Mlp = self.mlp(self.hidden, "mlp")

    def _length(self, behaviour: Behaviour) -> int:
        named = [self.spec.features[name] for name in behaviour.sequences]
        read = [self.spec.features[f.of] if isinstance(f, PretrainedFeature) else f for f in named]
        return max(getattr(feature, "max_length", 1) for feature in read)

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        found, layers = [], iter(self._interests)
        for behaviour in self._behaviours:
            tokens, mask = tokens_of(features, behaviour)
            if not behaviour.candidates:
                found.append(mean_of_tokens(tokens, mask))
                continue
            query, layer = candidate_embedding(features, self.spec, behaviour), next(layers)
            groups = length_groups(tokens, mask)
            parts = [
                layer(tf.gather(query, own.rows), own.tokens, own.mask, training=training) for own in groups
            ]
            found.append(tf.dynamic_stitch([own.rows for own in groups], parts))
        together = tf.concat([flat_fields(features), features.dense, *found], axis=-1)
        return self._mlp(together, training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": list(self.hidden),
            "heads": self.heads,
            "attention_hidden": list(self.attention_hidden),
            "position_dim": self.position_dim,
        }
