"""What every member has in common: tables of its own, an output embedding, a projection of its own to a logit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from cetnet_keras.embeddings import CONTEXT_ROW, EmbeddedFeatures, FeatureBatch, FeatureEmbedding
from cetnet_keras.mlp import Mlp
from cetnet_keras.spec import DataSpec


class MemberOutput(NamedTuple):
    """What a member says of a batch."""

    embedding: tf.Tensor  # [B, h], the output embedding that the fusion reads
    logit: tf.Tensor  # [B] float32, log odds of a click
    extra_loss: tf.Tensor | None = (
        None  # [B] float32, what its paper adds to its loss; label and weight are CETNet's
    )


_PARTS = {  # of a MemberOutput: the number of axes, and what stands behind the number of rows
    "embedding": (2, ", h], a vector an example"),
    "logit": (1, "], a number an example"),
    "extra_loss": (1, "], a number an example, or None"),
}


class Member(tf.keras.layers.Layer):
    """A CTR model that can stand alone or in an ensemble: FeatureBatch in, MemberOutput out.

    A subclass implements `output_embedding(features, training)` -> [B, h] and gives its options in `get_config`; one whose
    paper has another readout than a projection implements `logit` too. CETNet
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
        batch_norm: whether the hidden units of its MLPs are normalised over the batch.
        embedding_stddev: above 0, of the embedding rows' first, normal values (FuxiCTR: 1e-4); none leaves them uniform.
    Call arguments:
        batch: FeatureBatch with every feature of the spec.
    Returns:
        MemberOutput.
    Raises:
        ValueError: what a subclass returns is no tensor, or has the wrong number of axes.
    """

    embedding_sets = 1  # side by side in the rows of `features`

    def __init__(
        self,
        spec: DataSpec | dict[str, Any],
        vocabulary_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        projection: Sequence[int] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_stddev: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if embedding_stddev is not None and not embedding_stddev > 0:
            raise ValueError(f"`embedding_stddev` must be above 0. Received: {embedding_stddev!r}")
        self.embedding_dim = embedding_dim
        self.projection = tuple(projection)
        self.dropout, self.batch_norm, self.embedding_stddev = dropout, batch_norm, embedding_stddev
        self.features = self.tables(spec, vocabulary_sizes, "features")
        self.spec = self.features.spec
        self._hidden = self.mlp(self.projection, "projection")
        self._logit = tf.keras.layers.Dense(1, dtype="float32", name="logit")

    def tables(
        self, spec: DataSpec | dict[str, Any], vocabulary_sizes: Mapping[str, int], name: str
    ) -> FeatureEmbedding:
        """Embedding rows of this member's width and first values for the features of a spec."""
        first = "uniform"
        if self.embedding_stddev is not None:
            first = tf.keras.initializers.RandomNormal(stddev=self.embedding_stddev)
        return FeatureEmbedding(
            spec, vocabulary_sizes, self.embedding_dim, first, dtype=self.dtype_policy, name=name
        )

    def refuse_projection(self) -> None:
        """Raises ValueError where a member that has a readout of its own is given a `projection`."""
        if self.projection:
            own = f"{type(self).__name__} has a readout of its own: leave `projection` out"
            raise ValueError(f"{own}. Received: projection={list(self.projection)!r}")

    def mlp(
        self, units: Sequence[int], name: str, activation: Any = "relu", dropout: float | None = None
    ) -> Mlp:
        """An MLP on one vector an example, with the normalisation and, unless told, the dropout of this member."""
        dropout = self.dropout if dropout is None else dropout
        return Mlp(units, activation, dropout, self.batch_norm, dtype=self.dtype_policy, name=name)

    def embed(self, batch: FeatureBatch) -> EmbeddedFeatures:
        """What `output_embedding` sees of a batch; a member with further tables adds their rows."""
        return self.features(batch)

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        """The output embedding [B, h] of the embedded batch."""
        raise NotImplementedError(f"{type(self).__name__} has no output_embedding")

    def logit(self, embedding: tf.Tensor, training: bool | None) -> tf.Tensor:
        """The log odds [B] of a click, float32, of the output embedding [B, h]."""
        return self._logit(self._hidden(embedding, training=training))[:, 0]

    def call(self, batch: FeatureBatch, training: bool | None = None) -> MemberOutput:
        embedding = self.output_embedding(self.embed(batch), training)
        self._check_shape("output_embedding", embedding, 2, "[B, h], a vector an example")
        logit = self.logit(embedding, training)
        self._check_shape("logit", logit, 1, "[B], a number an example")
        return MemberOutput(embedding, logit)

    def _check_shape(self, method: str, value: Any, rank: int, expected: str) -> None:
        found = None
        if not tf.is_tensor(value):
            found = f"found {method} of type {type(value).__name__}, expected a tensor {expected}"
        elif value.shape.rank != rank:
            found = f"found {method} of shape {list(value.shape)}, expected {expected}"
        if found is not None:
            raise ValueError(f"{type(self).__name__}: {found}; correct what it returns")

    def get_config(self) -> dict[str, Any]:
        features = self.features.get_config()
        return super().get_config() | {
            "spec": features["spec"],
            "vocabulary_sizes": features["vocabulary_sizes"],
            "embedding_dim": self.embedding_dim,
            "projection": list(self.projection),
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
            "embedding_stddev": self.embedding_stddev,
        }


def checked_output(member: Member, batch: FeatureBatch, training: bool | None) -> MemberOutput:
    """What a member says of a batch, as far as its type and shapes are known to be right before it is computed.

    Raises:
        ValueError: no MemberOutput, or a part of it that is no tensor, has other axes or rows than it should, or no width.
    """
    output, kind = member(batch, training=training), type(member).__name__
    if not isinstance(output, MemberOutput):
        found = f"found {type(output).__name__} as what call returns, expected MemberOutput"
        raise ValueError(f"{kind}: {found}; return MemberOutput(embedding, logit)")
    rows = batch.get(CONTEXT_ROW, next(iter(batch.values()))).shape[0]  # None in a graph
    for part, (rank, expected) in _PARTS.items():
        value = getattr(output, part)
        if value is None and part == "extra_loss":
            continue
        known = tf.is_tensor(value) and value.shape.rank is not None
        shape: list[int | None] = value.shape.as_list() if known else []
        sound = len(shape) == rank and 0 not in shape[1:]
        if not sound or not (rows is None or shape[0] in (None, rows)):
            found = f"found {part} of shape {shape if known else type(value).__name__}"
            size = "B" if rows is None else rows
            raise ValueError(
                f"{kind}: {found} for {size} rows, expected [{size}{expected}; correct what it returns"
            )
    return output
