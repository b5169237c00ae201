"""DHEN: several kinds of interaction side by side, layer upon layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from cetnet_keras.behaviours import with_pooled_rows
from cetnet_keras.embeddings import EmbeddedFeatures, dense_names, field_names, sequence_names
from cetnet_keras.field_rows import FieldRows
from cetnet_keras.members.base import Member
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import RowDense

INTERACTIONS = ("dot", "cross", "attention", "linear", "convolution")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Interaction(tf.keras.layers.Layer):
    """One kind of interaction between n rows, as n_out rows.

    - dot: the products of all pairs of rows, then a linear map to the rows;
    - cross: x * (W x + b) + x on all rows laid side by side, W = U V^T of the given rank;
    - attention: multi-head self-attention between the rows;
    - linear: rows are mixed linearly;
    - convolution: a window of three neighbouring rows.
    Where a kind keeps n rows and n_out is another number, rows are mixed linearly at its end.
    Source: DHEN (arXiv 2203.11014), in the words of InterFormer (arXiv 2411.09852). DHEN's attention is a whole layer of a
    transformer, and its cross leaves x to the layer's ShortCut; that, window, heads and the mix at the end are our choice.

    Args:
        kind: one of the five.
        rows: n_out, 1 or more.
        rank: of the cross, 1 or more; cut to n d / 2, where a full W would have no more parameters.
    Call arguments:
        x: [B, n, d] float, n and d fixed.
    Returns:
        [B, n_out, d].
    Raises:
        ValueError: `kind` is none of the five, or `rows` or `rank` is below 1.
    """

    def __init__(self, kind: str, rows: int, rank: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in INTERACTIONS:
            raise ValueError(f"`kind` must be one of {', '.join(INTERACTIONS)}. Received: kind={kind!r}")
        if rows < 1 or rank < 1:
            raise ValueError(f"`rows` and `rank` must be 1 or more. Received: rows={rows!r}, rank={rank!r}")
        self.kind, self.rows, self.rank = kind, rows, rank

    def build(self, input_shape: Any) -> None:
        n, d, policy = int(input_shape[1]), int(input_shape[2]), self.dtype_policy
        if self.kind == "dot":
            self._pairs = np.flatnonzero(np.triu(np.ones((n, n)), k=1))
            self._map = tf.keras.layers.Dense(self.rows * d, dtype=policy, name="map")
        elif self.kind == "cross":
            rank = max(1, min(self.rank, n * d // 2))
            self._map = tfrs.layers.dcn.Cross(projection_dim=rank, dtype=policy, name="cross")
        elif self.kind == "attention":
            heads = next(heads for heads in (4, 2, 1) if d % heads == 0)
            self._map = tf.keras.layers.MultiHeadAttention(heads, d // heads, dtype=policy, name="attention")
        elif self.kind == "convolution":
            self._map = tf.keras.layers.Conv1D(d, 3, padding="same", dtype=policy, name="convolution")
        mixes = self.kind == "linear" or (self.kind != "dot" and n != self.rows)
        self._mix = row_mixer(self.rows, policy, "mix") if mixes else None
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        n, d = x.shape[1], x.shape[2]
        if self.kind == "dot":
            products = tf.reshape(tf.matmul(x, x, transpose_b=True), [-1, n * n])
            return tf.reshape(self._map(tf.gather(products, self._pairs, axis=1)), [-1, self.rows, d])
        if self.kind == "cross":
            x = tf.reshape(self._map(tf.reshape(x, [-1, n * d])), [-1, n, d])
        elif self.kind == "attention":
            x = self._map(x, x)
        elif self.kind == "convolution":
            x = self._map(x)
        return x if self._mix is None else mix_rows(self._mix, x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"kind": self.kind, "rows": self.rows, "rank": self.rank}


def row_mixer(rows: int, policy: Any, name: str) -> tf.keras.layers.Layer:
    """A linear layer for `mix_rows`, without a bias, which would shift a whole row."""
    return RowDense(rows, use_bias=False, dtype=policy, name=name)


def mix_rows(mix: tf.keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Applies a layer along the rows: [B, n, d] to [B, n_out, d]."""
    return tf.transpose(mix(tf.transpose(x, [0, 2, 1])), [0, 2, 1])


@tf.keras.utils.register_keras_serializable(package="cetnet")
class DhenLayer(tf.keras.layers.Layer):
    """X(l+1) = Norm(Ensemble_k Interaction_k(X(l)) + ShortCut(X(l))).

    Ensemble: "concat", concatenation of rows and a linear map back, or "sum"; one interaction is taken as it is.
    ShortCut: identity where the number of rows stays, else rows are mixed linearly. Norm: layer normalisation of each
    row. Source: DHEN (arXiv 2203.11014), equations 1 and 2 (InterFormer, arXiv 2411.09852, has an MLP as ShortCut); the map
    back after a concatenation, which in DHEN widens the layer, and dropout are our choice.

    Args:
        interactions: kinds of Interaction, at least one.
        rows: rows of the output, 1 or more.
        rank: of crosses, 1 or more.
        ensemble: "concat" or "sum".
        dropout: share of the ensemble's output dropped in training, 0 to below 1.
    Call arguments:
        x: [B, n, d] float.
    Returns:
        [B, rows, d].
    Raises:
        ValueError: an unknown kind or ensemble, no interaction, or a number outside its range.
    """

    def __init__(
        self,
        interactions: Sequence[str],
        rows: int,
        rank: int = 32,
        ensemble: str = "concat",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not interactions or ensemble not in ("concat", "sum"):
            raise ValueError(
                "`interactions` must not be empty and `ensemble` must be concat or sum. "
                f"Received: interactions={interactions!r}, ensemble={ensemble!r}"
            )
        self.interactions, self.rows, self.rank = tuple(interactions), rows, rank
        self.ensemble, self.dropout = ensemble, dropout
        policy = self.dtype_policy
        self._interactions = [
            Interaction(kind, rows, rank, dtype=policy, name=f"{kind}_{i}")
            for i, kind in enumerate(self.interactions)
        ]
        self._norm = tf.keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self._drop = tf.keras.layers.Dropout(dropout, dtype=policy) if dropout else None
        concat = ensemble == "concat" and len(self._interactions) > 1
        self._ensemble = row_mixer(rows, policy, "ensemble") if concat else None

    def build(self, input_shape: Any) -> None:
        changes = int(input_shape[1]) != self.rows
        self._shortcut = row_mixer(self.rows, self.dtype_policy, "shortcut") if changes else None
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        outputs = [interaction(x) for interaction in self._interactions]
        mixes = self._ensemble is not None
        together = mix_rows(self._ensemble, tf.concat(outputs, axis=1)) if mixes else tf.add_n(outputs)
        if self._drop is not None:
            together = self._drop(together, training=training)
        shortcut = x if self._shortcut is None else mix_rows(self._shortcut, x)
        return self._norm(together + shortcut)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "interactions": list(self.interactions),
            "rows": self.rows,
            "rank": self.rank,
            "ensemble": self.ensemble,
            "dropout": self.dropout,
        }


@register_member("dhen")
class DhenMember(Member):
    """Rows of features (fields, all numbers as one row, the mean of each sequence) through DHEN layers and an MLP.

    Source: DHEN (arXiv 2203.11014); on public data sets InterFormer's authors use {dot, cross} and 1 to 3 layers. One
    row for all numbers is theirs; a pooled row for a sequence is our choice.

    Args:
        layers: number of DHEN layers, 1 or more.
        interactions: kinds, of dot, cross, attention, linear, convolution.
        rows: rows of each layer's output, 1 or more; none keeps the number of feature rows.
        rank: of crosses, 1 or more.
        ensemble: "concat" or "sum".
        hidden: widths of the MLP; the last is the width of the output embedding.
    Output embedding:
        the last layer of the MLP.
    Raises:
        ValueError: a value outside these ranges.
    """

    def __init__(
        self,
        *args: Any,
        layers: int = 2,
        interactions: Sequence[str] = ("dot", "cross"),
        rows: int | None = None,
        rank: int = 32,
        ensemble: str = "concat",
        hidden: Sequence[int] = (128, 64),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if layers < 1:
            raise ValueError(f"`layers` must be 1 or more. Received: layers={layers!r}")
        self.layers, self.interactions, self.rows = layers, tuple(interactions), rows
        self.rank, self.ensemble, self.hidden = rank, ensemble, tuple(hidden)
        policy = self.dtype_policy
        self._rows = FieldRows(dtype=policy, name="rows")
        has_numbers = bool(dense_names(self.spec))
        count = len(field_names(self.spec)) + has_numbers + len(sequence_names(self.spec))
        self._stack = [
            DhenLayer(
                self.interactions,
                count if rows is None else rows,
                self.rank,
                self.ensemble,
                self.dropout,
                dtype=policy,
                name=f"layer_{i}",
            )
            for i in range(layers)
        ]
        self._mlp = self.mlp(self.hidden, "mlp")

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        x = with_pooled_rows(self._rows((features.fields, features.dense)), features)  # [B, F', d]
        for layer in self._stack:
            x = layer(x, training=training)
        return self._mlp(tf.reshape(x, [-1, x.shape[1] * x.shape[2]]), training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "layers": self.layers,
            "interactions": list(self.interactions),
            "rows": self.rows,
            "rank": self.rank,
            "ensemble": self.ensemble,
            "hidden": list(self.hidden),
        }
