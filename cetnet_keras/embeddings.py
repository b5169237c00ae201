"""Embedding tables: one a member and width, every vocabulary end to end behind one padding row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cetnet_keras.spec import BagFeature, CategoricalFeature, DataSpec, NumericFeature, SequenceFeature

FeatureBatch = Mapping[str, tf.Tensor]
"""What a model is fed: ids int64, [B] or [B, T] padded with 0; numbers float32 [B], each with `NAME/missing` [B]."""


class EmbeddedFeatures(NamedTuple):
    """What a member sees of a batch. F, N and the sequences' names are fixed by the spec; d is the member's width."""

    fields: tf.Tensor  # [B, F, d], one row a categorical, bucketed or bag feature, in the order of the spec
    dense: tf.Tensor  # [B, N], the numbers and their missing indicators
    sequences: dict[str, tf.Tensor]  # NAME: [B, T, d], oldest first, zero where padded
    masks: dict[str, tf.Tensor]  # NAME: [B, T], 1 for a token and 0 for padding


def missing_key(name: str) -> str:
    """Key of the indicator, [B] float, that is 1 where the numeric feature `name` was missing."""
    return f"{name}/missing"


def field_names(spec: DataSpec) -> tuple[str, ...]:
    """The features that are rows of `EmbeddedFeatures.fields`, in their order."""
    return tuple(
        n for n, f in spec.features.items() if spec.has_ids(n) and not isinstance(f, SequenceFeature)
    )


def dense_names(spec: DataSpec) -> tuple[str, ...]:
    """The keys that are columns of `EmbeddedFeatures.dense`, in their order."""
    numbers = (n for n in spec.of_type(NumericFeature) if not spec.has_ids(n))
    return tuple(key for name in numbers for key in (name, missing_key(name)))


def candidate_of(spec: DataSpec, sequence: str) -> str | None:
    """The candidate field that a sequence is about: it shares the sequence's embedding rows. None where there is none."""
    owner = spec.owner(sequence)
    for name in spec.of_type(CategoricalFeature):
        if spec.features[name].role == "candidate" and spec.owner(name) == owner:
            return name
    return None


@tf.keras.utils.register_keras_serializable(package="cetnet")
class ZeroRows(tf.keras.initializers.Initializer):
    """Another initializer's values with some rows at zero: padding, and out-of-vocabulary rows before they learn.

    Source: our choice. A row that training never touches then says nothing instead of something random.

    Args:
        rows: indices of the rows that start at zero.
        initializer: for all other rows; anything that `tf.keras.initializers.get` takes.
    """

    def __init__(self, rows: list[int], initializer: Any = "uniform") -> None:
        self.rows = list(rows)
        self.initializer = tf.keras.initializers.get(initializer)

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        keep = np.ones((shape[0], 1), np.float32)
        keep[self.rows] = 0
        return self.initializer(shape, dtype=dtype, **kwargs) * tf.cast(keep, dtype or tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {"rows": self.rows, "initializer": tf.keras.initializers.serialize(self.initializer)}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class EmbeddingTable(tf.keras.layers.Embedding):
    """`tf.keras.layers.Embedding` whose lookup reads the touched rows alone, under MirroredStrategy too.

    The stock layer's lookup of a mirrored variable compiles to a read of the whole variable, so that each step copies
    the table. Here a replica looks up in its own copy of the variable. Source: our choice, measured.

    Call arguments:
        rows: integer tensor of any shape, in [0, input_dim).
    Returns:
        `rows.shape + [output_dim]`, in the compute dtype of the layer.
    """

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        table, context = self.embeddings, tf.distribute.get_replica_context()
        if tf.distribute.has_strategy() and context is not None:
            local = tf.distribute.get_strategy().experimental_local_results(table)
            table = local[
                tf.get_static_value(context.replica_id_in_sync_group) % len(local)
            ]  # ids span all workers
        return tf.cast(tf.nn.embedding_lookup(table, rows), self.compute_dtype)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FeatureEmbedding(tf.keras.layers.Layer):
    """Turns a batch of ids and numbers into embeddings, with one lookup for all features.

    row = 0 if id = 0, else offset of the vocabulary + id - 1; what was looked up for id 0 is multiplied by 0, so that
    padding is zero and never trained, whatever the optimiser. Source: our choice.

    Args:
        spec: the data spec, or the dict that `spec.model_dump(mode="json")` gives.
        vocabulary_sizes: ids beside 0 of each feature in `spec.owners`, out-of-vocabulary ids included.
        embedding_dim: width d, 1 or more.
        embeddings_initializer: of the rows of known ids; uniform in [-0.05, 0.05], Keras' own, is our choice.
    Call arguments:
        batch: FeatureBatch with every feature of the spec.
    Returns:
        EmbeddedFeatures.
    Raises:
        ValueError: a feature of `spec.owners` has no size, or `embedding_dim` is below 1.
    """

    def __init__(
        self,
        spec: DataSpec | dict[str, Any],
        vocabulary_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        embeddings_initializer: Any = "uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = spec if isinstance(spec, DataSpec) else DataSpec.model_validate(spec)
        lacking = [owner for owner in self.spec.owners if owner not in vocabulary_sizes]
        if lacking:
            raise ValueError(
                f"`vocabulary_sizes` lacks {', '.join(lacking)}. Received: {dict(vocabulary_sizes)}"
            )
        self.vocabulary_sizes = {owner: int(vocabulary_sizes[owner]) for owner in self.spec.owners}
        if embedding_dim < 1:
            raise ValueError(f"`embedding_dim` must be 1 or more. Received: embedding_dim={embedding_dim!r}")
        self.embedding_dim = embedding_dim
        self.embeddings_initializer = tf.keras.initializers.get(embeddings_initializer)
        self._offsets: dict[str, int] = {}
        rows, zero_rows = 1, [0]
        for owner, size in self.vocabulary_sizes.items():
            self._offsets[owner] = rows
            rows += size
            zero_rows += range(rows - self.spec.oov_buckets(owner), rows)
        self._id_names = tuple(name for name in self.spec.features if self.spec.has_ids(name))
        self._dense_names = dense_names(self.spec)
        self.table = None
        if self._id_names:
            initializer = ZeroRows(zero_rows, self.embeddings_initializer)
            self.table = EmbeddingTable(
                rows, embedding_dim, embeddings_initializer=initializer, dtype=self.dtype_policy, name="table"
            )

    def build(self, input_shape: Any) -> None:
        if self.table is not None:
            self.table.build(None)
        super().build(input_shape)

    def rows_of(self, owner: str) -> slice:
        """The rows of `table` that hold the ids 1, 2, ... of a feature of `spec.owners`. Raises KeyError for another."""
        first = self._offsets[owner]
        return slice(first, first + self.vocabulary_sizes[owner])

    def call(self, batch: FeatureBatch) -> EmbeddedFeatures:
        if self.table is None:
            dense = self._dense(batch, 0)
            return EmbeddedFeatures(
                tf.zeros([tf.shape(dense)[0], 0, self.embedding_dim], dense.dtype), dense, {}, {}
            )
        rows, kept = [], []
        for name in self._id_names:
            ids = tf.cast(batch[name], tf.int64)
            ids = ids[:, tf.newaxis] if ids.shape.rank == 1 else ids  # [B, 1] or [B, T]
            rows.append(tf.where(ids > 0, ids + (self._offsets[self.spec.owner(name)] - 1), 0))
            kept.append(ids > 0)
        lengths = [tf.shape(part)[1] for part in rows]
        mask = tf.cast(tf.concat(kept, axis=1), self.compute_dtype)  # [B, sum of T]
        embedded = self.table(tf.concat(rows, axis=1)) * mask[:, :, tf.newaxis]  # [B, sum of T, d]
        parts = dict(zip(self._id_names, tf.split(embedded, lengths, axis=1, num=len(lengths)), strict=True))
        masks = dict(zip(self._id_names, tf.split(mask, lengths, axis=1, num=len(lengths)), strict=True))
        sequences = self.spec.of_type(SequenceFeature)
        fields = [self._field(name, parts[name], masks[name]) for name in field_names(self.spec)]
        return EmbeddedFeatures(
            fields=tf.stack(fields, axis=1) if fields else embedded[:, :0],
            dense=self._dense(batch, tf.shape(embedded)[0]),
            sequences={name: parts[name] for name in sequences},
            masks={name: masks[name] for name in sequences},
        )

    def _field(self, name: str, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        feature = self.spec.features[name]
        if not isinstance(feature, BagFeature):
            return tokens[:, 0]
        pooled = tf.reduce_sum(tokens, axis=1)
        return (
            pooled
            if feature.pooling == "sum"
            else pooled / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1)
        )

    def _dense(self, batch: FeatureBatch, size: tf.Tensor | int) -> tf.Tensor:
        if not self._dense_names:
            return tf.zeros([size, 0], self.compute_dtype)
        return tf.stack([tf.cast(batch[key], self.compute_dtype) for key in self._dense_names], axis=1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "spec": self.spec.model_dump(mode="json", exclude_unset=True),
            "vocabulary_sizes": dict(
                self.vocabulary_sizes
            ),  # Keras wraps dicts, and JSON does not take the wrap
            "embedding_dim": self.embedding_dim,
            "embeddings_initializer": tf.keras.initializers.serialize(self.embeddings_initializer),
        }
