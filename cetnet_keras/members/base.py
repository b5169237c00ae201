"""What every member has in common: tables of its own, an output embedding, a projection of its own to a logit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from cetnet_keras.embeddings import EmbeddedFeatures, FeatureBatch, FeatureEmbedding
from cetnet_keras.mlp import Mlp
from cetnet_keras.spec import DataSpec


class MemberOutput(NamedTuple):
    """What a member says of a batch."""

    embedding: tf.Tensor  # [B, h], the output embedding that the fusion reads
    logit: tf.Tensor  # [B] float32, log odds of a click


class Member(tf.keras.layers.Layer):
    """A CTR model that can stand alone or in an ensemble: FeatureBatch in, MemberOutput out.

    A subclass implements `output_embedding(features, training)` -> [B, h] and gives its options in `get_config`. CETNet
    calls it with AutoGraph off, because conversion takes longer than all other tracing together: an `if` or a loop on a
    tensor's value has to be a `tf.cond` or a `tf.while_loop`, or stand in a `tf.function` of the member's own.
    Source: CETNet (arXiv 2411.13700), section 3.2: nothing below the fusion is shared between members.

    Args:
        spec: the data spec, or its dict.
        vocabulary_sizes: ids beside 0 of each feature in `spec.owners`, out-of-vocabulary ids included.
        embedding_dim: width d of this member's embedding rows.
        projection: hidden widths of the MLP from the output embedding to the logit; the paper says an MLP, not its
            size; none, a linear projection, is our choice.
        dropout: share of hidden units dropped in training.
    Call arguments:
        batch: FeatureBatch with every feature of the spec.
    Returns:
        MemberOutput.
    """

    def __init__(
        self,
        spec: DataSpec | dict[str, Any],
        vocabulary_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        projection: Sequence[int] = (),
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.features = FeatureEmbedding(spec, vocabulary_sizes, embedding_dim, dtype=policy, name="features")
        self.spec = self.features.spec
        self.embedding_dim = embedding_dim
        self.projection = tuple(projection)
        self.dropout = dropout
        self._hidden = Mlp(self.projection, dropout=dropout, dtype=policy, name="projection")
        self._logit = tf.keras.layers.Dense(1, dtype="float32", name="logit")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        """The output embedding [B, h] of the embedded batch."""
        raise NotImplementedError(f"{type(self).__name__} has no output_embedding")

    def call(self, batch: FeatureBatch, training: bool | None = None) -> MemberOutput:
        embedding = self.output_embedding(self.features(batch), training)
        logit = self._logit(self._hidden(embedding, training=training))
        return MemberOutput(embedding, logit[:, 0])

    def get_config(self) -> dict[str, Any]:
        features = self.features.get_config()
        return super().get_config() | {
            "spec": features["spec"],
            "vocabulary_sizes": features["vocabulary_sizes"],
            "embedding_dim": self.embedding_dim,
            "projection": list(self.projection),
            "dropout": self.dropout,
        }
