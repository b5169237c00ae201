"""Multi-embedding (ME): one model on several embedding sets, the paradigm that CETNet is compared with."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from cetnet_keras.behaviours import flat_features, with_pooled_rows
from cetnet_keras.embeddings import EmbeddedFeatures
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member

INTERACTIONS = ("dnn", "ipnn", "dcnv2")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class InnerProducts(tf.keras.layers.Layer):
    """v_i . v_j of all pairs i < j of rows, in the order (0, 1), (0, 2), ... Source: IPNN (arXiv 1611.00144).

    Call arguments:
        rows: [B, n, d].
    Returns:
        [B, n (n - 1) / 2].
    """

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        n = rows.shape[1]
        products = tf.reshape(tf.matmul(rows, rows, transpose_b=True), [-1, n * n])
        return tf.gather(products, [i * n + j for i in range(n) for j in range(i + 1, n)], axis=1)


@register_member("multi_embedding")
class MultiEmbeddingMember(Member):
    """h = mean over sets of I_m(e^(m)), then one head: every set has an interaction of its own, all have one loss.

    The first layer of the MLP is in each I_m, which needs a non-linearity: else the sets are one wide table. The sets lie
    side by side in one table of width sets * d, whose columns learn as separate tables would (but by adagrad, which has one
    rate a row). Source: Guo et al. (arXiv 2310.04400), whose code normalises hidden units (`batch_norm: true` here), has
    four crosses, and gives an IPNN's set its inner products alone; embeddings and numbers beside them, and pooling of
    sequences, are our choice.

    Args:
        embedding_dim: width d of each set.
        interaction: of a set, before its layer of the MLP: "dnn", nothing; "ipnn", inner products of fields and sequences
            beside them; "dcnv2", `cross_layers` crosses.
        sets: number of embedding sets, 1 or more.
        hidden: widths of the MLP, the first in each set.
        cross_layers: for "dcnv2".
    Output embedding:
        the last layer of the MLP.
    Raises:
        ValueError: a value outside these ranges.
    """

    def __init__(
        self,
        spec: Any,
        vocabulary_sizes: Any,
        embedding_dim: int = 16,
        interaction: str = "dcnv2",
        sets: int = 2,
        hidden: Sequence[int] = (128, 64),
        cross_layers: int = 3,
        **kwargs: Any,
    ) -> None:
        if interaction not in INTERACTIONS:
            known = ", ".join(INTERACTIONS)
            raise ValueError(f"`interaction` must be one of {known}. Received: interaction={interaction!r}")
        for name, value in (("sets", sets), ("cross_layers", cross_layers), ("hidden", len(hidden))):
            if value < 1:
                raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value!r}")
        super().__init__(spec, vocabulary_sizes, embedding_dim * sets, **kwargs)
        self.embedding_dim = embedding_dim
        self.interaction, self.sets, self.embedding_sets = interaction, sets, sets
        self.hidden, self.cross_layers = tuple(hidden), cross_layers
        crosses = cross_layers if interaction == "dcnv2" else 0
        self._crosses = [  # set by set; Keras does not save lists of lists
            tfrs.layers.dcn.Cross(dtype=self.dtype_policy, name=f"set_{m}_cross_{i}")
            for m in range(sets)
            for i in range(crosses)
        ]
        self._products = InnerProducts(dtype=self.dtype_policy, name="products")
        self._own = [self.mlp(self.hidden[:1], f"set_{m}") for m in range(sets)]
        self._head = self.mlp(self.hidden[1:], "head")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        each = [self._interact(m, self._set(features, m), training) for m in range(self.sets)]
        return self._head(tf.add_n(each) / self.sets, training=training)

    def _set(self, features: EmbeddedFeatures, m: int) -> EmbeddedFeatures:
        """What a batch is in one embedding set."""
        own = slice(m * self.embedding_dim, (m + 1) * self.embedding_dim)
        sequences = {name: tokens[:, :, own] for name, tokens in features.sequences.items()}
        pooled = {name: mean[:, own] for name, mean in features.pooled.items()}
        return features._replace(fields=features.fields[:, :, own], sequences=sequences, pooled=pooled)

    def _interact(self, m: int, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        x0 = crossed = flat_features(features)
        crosses = len(self._crosses) // self.sets
        for cross in self._crosses[m * crosses : (m + 1) * crosses]:
            crossed = cross(x0, crossed)
        if self.interaction == "ipnn":
            crossed = tf.concat([x0, self._products(with_pooled_rows(features.fields, features))], axis=-1)
        return self._own[m](crossed, training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "interaction": self.interaction,
            "sets": self.sets,
            "hidden": list(self.hidden),
            "cross_layers": self.cross_layers,
        }
