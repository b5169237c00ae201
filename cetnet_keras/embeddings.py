"""Embedding tables: one a member and width, every vocabulary end to end behind one padding row."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cetnet_keras.spec import (
    BagFeature,
    CategoricalFeature,
    DataSpec,
    NumericFeature,
    PretrainedFeature,
    SequenceFeature,
    TimestampFeature,
    VectorFeature,
)

FeatureBatch = Mapping[str, tf.Tensor]
"""What a model is fed: ids int64, [B], or [B, T] padded with 0 at the end, or [B, parts] of a timestamp; numbers float32
[B] and vectors [B, n], each with `NAME/missing` [B]. Pretrained features are looked up by another's ids and are not in
it. With `CONTEXT_ROW` [B], context features have a row a context, and only what reads them is repeated."""

CONTEXT_ROW = "/context_row"
"""Key of the row of the context features that each example has, [B] int32: many candidates are ranked for one context."""


class EmbeddedFeatures(NamedTuple):
    """What a member sees of a batch. F, N and the sequences' names are fixed by the spec; d is the member's width."""

    fields: tf.Tensor  # [B, F, d], the rows that `field_names` tells
    dense: tf.Tensor  # [B, N], the numbers of features and vectors, and their missing indicators
    sequences: dict[str, tf.Tensor]  # NAME: [B, T, d], oldest first, zero where padded
    masks: dict[str, tf.Tensor]  # NAME: [B, T], 1 for a token and 0 for padding
    pooled: dict[str, tf.Tensor]  # NAME: [B, d], the mean of a sequence's tokens, zero where there are none


def missing_key(name: str) -> str:
    """Key of the indicator, [B] float, that is 1 where the numeric or vector feature `name` was missing."""
    return f"{name}/missing"


def field_names(spec: DataSpec) -> tuple[str, ...]:
    """The rows of `EmbeddedFeatures.fields`: a feature with one embedding a row of data each, a timestamp's parts each."""
    names: list[str] = []
    for name, feature in spec.features.items():
        if isinstance(feature, TimestampFeature):
            names += [f"{name}/{part}" for part in feature.parts]
        elif name not in sequence_names(spec) and not _is_dense(spec, name):
            names.append(name)
    return tuple(names)


def sequence_names(spec: DataSpec) -> tuple[str, ...]:
    """The keys of `EmbeddedFeatures.sequences`: sequences, and the pretrained vectors of sequences."""
    sequences = spec.of_type(SequenceFeature)
    of_one = (n for n, f in spec.pretrained.items() if f.of in sequences)
    return (*sequences, *of_one)


def dense_names(spec: DataSpec) -> tuple[str, ...]:
    """The keys of a batch that make up `EmbeddedFeatures.dense`, in their order."""
    return tuple(k for n in spec.features if _is_dense(spec, n) for k in (n, missing_key(n)))


def _is_dense(spec: DataSpec, name: str) -> bool:
    return isinstance(spec.features[name], NumericFeature | VectorFeature) and not spec.has_ids(name)


def candidate_of(spec: DataSpec, sequence: str) -> str | None:
    """The candidate field that a sequence is about: it shares the sequence's embedding rows. None where there is none."""
    owner = spec.owner(sequence)
    for name, feature in spec.features.items():
        ids = spec.features[feature.of] if isinstance(feature, PretrainedFeature) else feature
        if isinstance(ids, CategoricalFeature) and ids.role == "candidate" and spec.owner(name) == owner:
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

    stored: tf.Variable | None = None  # [rows, d] float16 or int8, looked up in place of `embeddings`
    scale: tf.Variable | None = None  # [rows, 1] float32, of int8

    def compress(self, dtype: str) -> None:
        """Looks up rows of another type from now on, in place of `embeddings`, which is gone; the table learns no more.

        Args:
            dtype: float16, or int8: round(row / scale) with scale = max |row| / 127. Source: one scale a row is that of
                FBGEMM's 8-bit tables; without an offset, so that padding stays zero, is our choice.
        Raises:
            ValueError: neither of the two, or the table is stored so already.
        """
        if dtype not in ("float16", "int8"):
            raise ValueError(f"`dtype` must be float16 or int8. Received: dtype={dtype!r}")
        if self.stored is not None:
            raise ValueError(
                f"the table is stored as {self.stored.dtype.name} already. Received: dtype={dtype!r}"
            )
        values = self.embeddings.numpy()
        if dtype == "int8":
            scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / 127
            self.scale = self._constant("scale", scale)
            values = np.rint(values / scale)
        self.stored = self._constant("stored", values.astype(dtype))
        del self.embeddings

    def _constant(self, name: str, value: np.ndarray) -> tf.Variable:
        variable = self.add_weight(name, value.shape, value.dtype, "zeros", trainable=False)
        variable.assign(value)
        return variable

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        if self.stored is not None:
            found = tf.cast(tf.nn.embedding_lookup(self.stored, rows), self.compute_dtype)
            if self.scale is not None:
                found *= tf.cast(tf.nn.embedding_lookup(self.scale, rows), self.compute_dtype)
            return found
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
    padding is zero and never trained, whatever the optimiser. Source: our choice. Pretrained vectors have tables of their
    own, which are zero until `set_pretrained`, and a linear map to the width.

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
        ValueError: a feature of `spec.owners` has no size, or less than its out-of-vocabulary ids; `embedding_dim` is
            below 1.
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
        for owner in self.spec.owners:
            size, least = vocabulary_sizes[owner], self.spec.oov_buckets(owner)
            if size < least or int(size) != size:
                raise ValueError(
                    f"`vocabulary_sizes` of {owner} must be a whole number, {least} or more. Received: {size!r}"
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
        self._field_names, self._dense_names = field_names(self.spec), dense_names(self.spec)
        self._sequence_names = sequence_names(self.spec)
        self.table = None
        if self._id_names:
            initializer = ZeroRows(zero_rows, self.embeddings_initializer)
            self.table = EmbeddingTable(
                rows, embedding_dim, embeddings_initializer=initializer, dtype=self.dtype_policy, name="table"
            )
        owners = dict.fromkeys(self.spec.owner(name) for name in self.spec.pretrained)
        self.pretrained_tables = {owner: self._pretrained_table(owner) for owner in owners}
        self.projections = {
            owner: tf.keras.layers.Dense(
                embedding_dim, use_bias=False, dtype=self.dtype_policy, name=f"project_{owner}"
            )
            for owner in owners
        }

    def _pretrained_table(self, owner: str) -> EmbeddingTable:
        feature = self.spec.pretrained[owner]
        return EmbeddingTable(
            self.vocabulary_sizes[self.spec.owner(feature.of)] + 1,
            feature.dimension,
            embeddings_initializer="zeros",
            trainable=feature.trainable,
            dtype=self.dtype_policy,
            name=f"pretrained_{owner}",
        )

    def build(self, input_shape: Any) -> None:
        if self.table is not None:
            self.table.build(None)
        for owner, table in self.pretrained_tables.items():
            table.build(None)
            self.projections[owner].build([None, self.spec.pretrained[owner].dimension])
        super().build(input_shape)

    def rows_of(self, owner: str) -> slice:
        """The rows of `table` that hold the ids 1, 2, ... of a feature of `spec.owners`. Raises KeyError for another."""
        first = self._offsets[owner]
        return slice(first, first + self.vocabulary_sizes[owner])

    def set_pretrained(self, owner: str, vectors: np.ndarray) -> None:
        """Gives the table of a pretrained feature its vectors: [ids + 1, dimension], row 0 zero.

        Raises:
            ValueError: another shape, a value that is not finite, or no such table.
        """
        if owner not in self.pretrained_tables:
            raise ValueError(f"no pretrained table {owner!r}; there are: {', '.join(self.pretrained_tables)}")
        variable = self.pretrained_tables[owner].embeddings
        if tuple(variable.shape) != vectors.shape:
            raise ValueError(
                f"`vectors` must have the shape {tuple(variable.shape)}. Received: {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ValueError(f"`vectors` of {owner!r} must be finite. Received: {vectors[row]} in row {row}")
        variable.assign(vectors)

    def call(self, batch: FeatureBatch) -> EmbeddedFeatures:
        row = batch.get(CONTEXT_ROW)
        contexts = () if row is None else self.spec.with_role("context")
        tokens, masks = self._look_up(batch, [name for name in self._id_names if name not in contexts])
        of_contexts = self._look_up(batch, [name for name in self._id_names if name in contexts])
        tokens, masks = tokens | of_contexts[0], masks | of_contexts[1]
        for name, feature in self.spec.pretrained.items():
            owner, mask = self.spec.owner(name), masks[feature.of]
            ids = _two_axes(tf.cast(batch[feature.of], tf.int64))
            vectors = self.pretrained_tables[owner](ids)  # [B, T, dimension]
            tokens[name] = self.projections[owner](vectors) * mask[:, :, tf.newaxis]
            masks[name] = mask

        def of_rows(name: str, value: tf.Tensor) -> tf.Tensor:
            """A row an example of what a feature has a row a context of."""
            feature = self.spec.features[name]
            ids = feature.of if isinstance(feature, PretrainedFeature) else name
            return tf.gather(value, row) if ids in contexts else value

        # what is not used of the repeated tokens is not computed: a graph leaves it out
        fields, sequences = self._features_of_fields(), self._sequence_names
        parts = [of_rows(name, self._field(name, tokens[name], masks[name])) for name in fields]
        dense = [of_rows(name.partition("/")[0], column) for name, column in self._dense(batch).items()]
        size = tf.shape(next(iter(batch.values())) if row is None else row)[0]
        return EmbeddedFeatures(
            tf.concat(parts or [tf.zeros([size, 0, self.embedding_dim], self.compute_dtype)], axis=1),
            tf.concat(dense or [tf.zeros([size, 0], self.compute_dtype)], axis=1),
            sequences={name: of_rows(name, tokens[name]) for name in sequences},
            masks={name: of_rows(name, masks[name]) for name in sequences},
            pooled={name: of_rows(name, mean_of_tokens(tokens[name], masks[name])) for name in sequences},
        )

    def _look_up(
        self, batch: FeatureBatch, names: Sequence[str]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The embeddings [B, T, d] of features with ids and their masks [B, T]; T is 1 for one id a row."""
        if self.table is None or not names:
            return {}, {}
        rows, kept = [], []
        for name in names:
            ids = _two_axes(tf.cast(batch[name], tf.int64))
            rows.append(tf.where(ids > 0, ids + (self._offsets[self.spec.owner(name)] - 1), 0))
            kept.append(ids > 0)
        lengths = [tf.shape(part)[1] for part in rows]
        mask = tf.cast(tf.concat(kept, axis=1), self.compute_dtype)  # [B, sum of T]
        embedded = self.table(tf.concat(rows, axis=1)) * mask[:, :, tf.newaxis]  # [B, sum of T, d]
        parts = tf.split(embedded, lengths, axis=1, num=len(lengths))
        masks = tf.split(mask, lengths, axis=1, num=len(lengths))
        return dict(zip(names, parts, strict=True)), dict(zip(names, masks, strict=True))

    def _features_of_fields(self) -> list[str]:
        return list(dict.fromkeys(name.partition("/")[0] for name in self._field_names))

    def _field(self, name: str, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The rows [B, n, d] of a feature: one, or one a part of a timestamp."""
        feature = self.spec.features[name]
        if isinstance(feature, TimestampFeature):
            return tf.ensure_shape(tokens, [None, len(feature.parts), None])
        bag = self.spec.features[feature.of] if isinstance(feature, PretrainedFeature) else feature
        if not isinstance(bag, BagFeature):
            return tf.ensure_shape(tokens, [None, 1, None])
        if bag.pooling == "mean":
            return mean_of_tokens(tokens, mask)[:, tf.newaxis]
        total = tf.reduce_sum(tf.cast(tokens, tf.float32), axis=1, keepdims=True)  # float16 loses small ones
        return tf.cast(total, tokens.dtype)

    def _dense(self, batch: FeatureBatch) -> dict[str, tf.Tensor]:
        """The columns [B, n] of `dense_names`, by key."""
        columns = {}
        for key in self._dense_names:
            values = tf.cast(batch[key], self.compute_dtype)
            feature = self.spec.features.get(key)
            if isinstance(feature, VectorFeature):
                columns[key] = tf.ensure_shape(values, [None, feature.dimension])
            else:
                columns[key] = tf.ensure_shape(_two_axes(values), [None, 1])
        return columns

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "spec": self.spec.model_dump(mode="json", exclude_unset=True),
            "vocabulary_sizes": dict(
                self.vocabulary_sizes
            ),  # Keras wraps dicts, and JSON does not take the wrap
            "embedding_dim": self.embedding_dim,
            "embeddings_initializer": tf.keras.initializers.serialize(self.embeddings_initializer),
        }


def mean_of_tokens(tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean [B, n] of the tokens [B, T, n] that the mask [B, T] counts; zero where there are none."""
    counted = tf.cast(tokens * mask[:, :, tf.newaxis], tf.float32)  # float16 may hold the mean, not the sum
    number = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1, keepdims=True)
    return tf.cast(tf.reduce_sum(counted, axis=1) / tf.maximum(number, 1), tokens.dtype)


def _two_axes(values: tf.Tensor) -> tf.Tensor:
    """Values [B] or [B, T] as [B, T]."""
    return values[:, tf.newaxis] if values.shape.rank == 1 else values
