"""InterFormer: sequences and the other features inform each other, layer by layer."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from cetnet_keras.attention import AttentionPooling, RotaryAttention, check_heads
from cetnet_keras.behaviours import LengthGroup, behaviours, length_groups, tokens_of
from cetnet_keras.embeddings import EmbeddedFeatures, dense_names, field_names
from cetnet_keras.field_rows import FieldRows
from cetnet_keras.members.base import Member
from cetnet_keras.members.dhen import DhenLayer, Interaction, mix_rows, row_mixer
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import Mlp, RowDense

GATES = {"identity": tf.identity, "sigmoid": tf.sigmoid, "tanh": tf.tanh}
INTERACTIONS = ("dhen", "dcnv2", "dot")
_ACTIVATION = "swish"


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Gating(tf.keras.layers.Layer):
    """Gating(X) = sigma(X * MLP(X)): each value is let through as its row says.

    Source: InterFormer (arXiv 2411.09852). The MLP is one linear layer, whose bias starts at 1, so that at first the gate
    lets everything through: our choice.

    Args:
        activation: sigma; "identity", "sigmoid" or "tanh".
    Call arguments:
        x: [B, n, d] float.
    Returns:
        [B, n, d].
    Raises:
        ValueError: `activation` is none of the three.
    """

    def __init__(self, activation: str = "identity", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if activation not in GATES:
            raise ValueError(f"`gate` must be one of {', '.join(GATES)}. Received: gate={activation!r}")
        self.activation = activation

    def build(self, input_shape: Any) -> None:
        width, policy = int(input_shape[-1]), self.dtype_policy
        self._mlp = RowDense(width, bias_initializer="ones", dtype=policy, name="mlp")
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return GATES[self.activation](x * self._mlp(x))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class MaskNet(tf.keras.layers.Layer):
    """MLP_lce(S * MLP_mask(S)): the columns of one behaviour, side by side, as one sequence of width d.

    Source: InterFormer (arXiv 2411.09852). Each MLP is one linear layer, and the mask starts near 1: our choice.

    Args:
        width: d, 1 or more.
    Call arguments:
        tokens: [B, T, k d] float.
    Returns:
        [B, T, d]; what stands at the place of padding has no meaning.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape: Any) -> None:
        policy = self.dtype_policy
        self._mask = RowDense(int(input_shape[-1]), bias_initializer="ones", dtype=policy, name="mask")
        self._lce = RowDense(self.width, dtype=policy, name="lce")
        super().build(input_shape)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return self._lce(tokens * self._mask(tokens))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"width": self.width}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class PersonalisedAttention(tf.keras.layers.Layer):
    """S(l+1) = MHA(PFFN(X_sum, S(l))): attention over tokens that what is known of the example has turned first.

    PFFN turns each token by a d x d matrix, one an example, which is a linear map of all of X_sum, with n_sum d^3 weights.
    The map's bias starts at the identity, so that at first tokens pass as they are. Source: InterFormer (arXiv 2411.09852),
    which makes the matrix by an MLP in section 4.3 and as X_sum W, of rank n_sum at most, in A.2.2: the map is our choice.

    Args:
        heads: of the attention, 1 or more.
    Call arguments:
        tokens: [B, T, d] float. mask: [B, T], 1 for a token. summary: X_sum, [B, n_sum, d].
    Returns:
        [B, T, d]; what stands at the place of padding has no meaning.
    """

    def __init__(self, heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self._attention = RotaryAttention(heads, dtype=self.dtype_policy, name="attention")

    def build(self, input_shape: Any) -> None:
        width = int(input_shape[-1])
        self._matrix = tf.keras.layers.Dense(
            width * width, bias_initializer=FlatIdentity(), dtype=self.dtype_policy, name="matrix"
        )
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, mask: tf.Tensor, summary: tf.Tensor) -> tf.Tensor:
        width = int(tokens.shape[-1])
        flat = tf.reshape(summary, [-1, int(summary.shape[1]) * width])
        matrix = tf.reshape(self._matrix(flat), [-1, width, width])
        return self._attention(tf.matmul(tf.cast(tokens, matrix.dtype), matrix), mask)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads}


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FlatIdentity(tf.keras.initializers.Initializer):
    """The identity matrix, row by row in one vector of d * d values."""

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        return tf.reshape(tf.eye(math.isqrt(int(shape[0])), dtype=dtype or tf.float32), shape)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class SequenceSummary(tf.keras.layers.Layer):
    """S_sum = Gating([S_CLS | S_PMA | S_recent]): a sequence in a fixed number of rows.

    S_CLS are the first tokens, which stand for the other features; S_PMA is what learned queries find; S_recent are the
    last real tokens. Source: InterFormer (arXiv 2411.09852); zeros where there are fewer are our choice.

    Args:
        cls_rows: of S_CLS, which are the first `cls_rows` tokens.
        queries: rows of S_PMA. heads: of its attention. gate: of Gating.
    Call arguments:
        tokens: [B, T, d] float. mask: [B, T], 1 for a token. recent: [B, n, T], 1 where a last token stands.
    Returns:
        [B, cls_rows + queries + n, d].
    """

    def __init__(
        self, cls_rows: int = 4, queries: int = 2, heads: int = 2, gate: str = "identity", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.cls_rows, self.queries, self.heads, self.gate = cls_rows, queries, heads, gate
        policy = self.dtype_policy
        self._pooling = AttentionPooling(queries, heads, dtype=policy, name="pma")
        self._gate = Gating(gate, dtype=policy, name="gate")

    def call(self, tokens: tf.Tensor, mask: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        first = tf.ensure_shape(tokens[:, : self.cls_rows], [None, self.cls_rows, None])
        last = tf.matmul(tf.cast(recent, tokens.dtype), tokens)
        return self._gate(tf.concat([first, self._pooling(tokens, mask), last], axis=1))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "cls_rows": self.cls_rows,
            "queries": self.queries,
            "heads": self.heads,
            "gate": self.gate,
        }


class _State(NamedTuple):
    """S of one layer, of one behaviour, for the examples of one LengthGroup."""

    rows: tf.Tensor  # [n] int32, where they stand in the batch
    tokens: tf.Tensor  # [n, T, d]
    mask: tf.Tensor  # [n, T]
    recent: tf.Tensor  # [n, recent, T], 1 where a last token stands


def _next_state(attention: PersonalisedAttention, state: _State, x_sum: tf.Tensor) -> _State:
    return state._replace(tokens=attention(state.tokens, state.mask, tf.gather(x_sum, state.rows)))


@register_member("interformer")
class InterformerMember(Member):
    """The other features tell each sequence what to look for, and the sequences tell them what they found, each layer.

    X(0): fields, and all numbers as one row. S(0): the tokens of a behaviour, [X_sum(0) | MaskNet(its columns)].
    X_sum(l) = Gating(LCE(X(l))); S_sum(l) = SequenceSummary(S(l)); S(l+1) = PersonalisedAttention(S(l), X_sum(l));
    X(l+1) = MLP(Interaction([X(l) | S_sum(l)])). LCE mixes rows linearly, MLP is one Swish layer on each row.
    Source: InterFormer (arXiv 2411.09852), whose public results have 4 rows of X_sum, 2 queries and 2 recent tokens;
    several behaviours that are not of one length have states of their own, and all sizes, linear LCE and one layer as MLP
    are our choice. Hidden units are dropped in "dhen" and in the last MLP: with `dropout` the three interactions differ in
    that, too.

    Args:
        layers: number of layers, 1 or more.
        heads: of the attention over a sequence, 1 or more; they divide embedding_dim.
        cls_rows: rows of X_sum, 1 or more.
        queries: learned queries of the pooling, 1 or more.
        recent: last tokens that are looked at by themselves, 0 or more.
        interaction: "dhen" (a layer with dot and cross), "dcnv2" or "dot".
        rank: of crosses, 1 or more.
        gate: sigma of Gating, "identity", "sigmoid" or "tanh".
        hidden: widths of the last MLP; its last is the width of the output embedding.
    Output embedding:
        MLP([X_sum(L) | S_sum(L)]).
    Raises:
        ValueError: a value outside these ranges, or a spec without a sequence or with nothing but sequences.
    """

    def __init__(
        self,
        *args: Any,
        layers: int = 2,
        heads: int = 2,
        cls_rows: int = 4,
        queries: int = 2,
        recent: int = 2,
        interaction: str = "dhen",
        rank: int = 32,
        gate: str = "identity",
        hidden: Sequence[int] = (128, 64),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if min(layers, heads, cls_rows, queries) < 1 or recent < 0:
            found = f"{layers=}, {heads=}, {cls_rows=}, {queries=}, {recent=}"
            raise ValueError(
                f"`layers`, `heads`, `cls_rows` and `queries` must be 1 or more, `recent` 0 or more. Received: {found}"
            )
        if interaction not in INTERACTIONS:
            expected = f"`interaction` must be one of {', '.join(INTERACTIONS)}"
            raise ValueError(f"{expected}. Received: interaction={interaction!r}")
        self.layers, self.heads, self.cls_rows, self.queries = layers, heads, cls_rows, queries
        self.recent, self.interaction, self.rank, self.gate = recent, interaction, rank, gate
        self.hidden, policy = tuple(hidden), self.dtype_policy
        check_heads(heads, self.embedding_dim)
        self._behaviours = behaviours(self.spec)
        rows = len(field_names(self.spec)) + bool(dense_names(self.spec))
        if not self._behaviours or not rows:
            lack = "feature beside its sequences" if self._behaviours else "sequence"
            raise ValueError(
                f"interformer needs a sequence and another feature; the data spec has no {lack}: add one, or name "
                "another member"
            )
        self._rows = FieldRows(dtype=policy, name="rows")
        each = range(len(self._behaviours))
        self._unify = [MaskNet(self.embedding_dim, dtype=policy, name=f"unify_{k}") for k in each]
        self._mixes = [row_mixer(cls_rows, policy, f"lce_{layer}") for layer in range(layers + 1)]
        self._gates = [Gating(gate, dtype=policy, name=f"gate_{layer}") for layer in range(layers + 1)]
        self._summaries = [  # layer by layer, each behaviour's
            SequenceSummary(cls_rows, queries, heads, gate, dtype=policy, name=f"summary_{layer}_{k}")
            for layer in range(layers + 1)
            for k in each
        ]
        self._attention = [
            PersonalisedAttention(heads, dtype=policy, name=f"attention_{layer}_{k}")
            for layer in range(layers)
            for k in each
        ]
        self._interactions = [self._interaction(rows, f"interaction_{layer}") for layer in range(layers)]
        self._row_mlps = [
            Mlp([self.embedding_dim], _ACTIVATION, dtype=policy, name=f"row_mlp_{layer}")
            for layer in range(layers)
        ]
        self._mlp = self.mlp(self.hidden, "mlp", _ACTIVATION)

    def _interaction(self, rows: int, name: str) -> tf.keras.layers.Layer:
        policy = self.dtype_policy
        if self.interaction == "dhen":
            return DhenLayer(("dot", "cross"), rows, self.rank, dropout=self.dropout, dtype=policy, name=name)
        kind = "dot" if self.interaction == "dot" else "cross"
        return Interaction(kind, rows, self.rank, dtype=policy, name=name)

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        x = self._rows((features.fields, features.dense))
        x_sum = self._x_sum(0, x)
        states = [
            [
                self._first_state(unify, group, x_sum)
                for group in length_groups(*tokens_of(features, behaviour))
            ]
            for behaviour, unify in zip(self._behaviours, self._unify, strict=True)
        ]
        for layer in range(self.layers):
            s_sum = self._s_sum(layer, states)
            states = [
                [_next_state(attention, state, x_sum) for state in own]
                for attention, own in zip(self._of_layer(self._attention, layer), states, strict=True)
            ]
            x = self._row_mlps[layer](self._interactions[layer](tf.concat([x, *s_sum], axis=1)))
            x_sum = self._x_sum(layer + 1, x)
        together = tf.concat([x_sum, *self._s_sum(self.layers, states)], axis=1)
        flat = tf.reshape(together, [-1, together.shape[1] * together.shape[2]])
        return self._mlp(flat, training=training)

    def _first_state(self, unify: MaskNet, group: LengthGroup, x_sum: tf.Tensor) -> _State:
        """[X_sum | tokens of a behaviour as one sequence] of one group of examples."""
        ahead = [[0, 0], [self.cls_rows, 0]]
        return _State(
            group.rows,
            tf.concat([tf.gather(x_sum, group.rows), unify(group.tokens)], axis=1),
            tf.pad(group.mask, ahead, constant_values=1),
            tf.pad(last_tokens(group.mask, self.recent), [[0, 0], *ahead]),
        )

    def _of_layer(self, layers: list[Any], layer: int) -> list[Any]:
        """Those of each behaviour in one layer."""
        count = len(self._behaviours)
        return layers[layer * count : (layer + 1) * count]

    def _x_sum(self, layer: int, x: tf.Tensor) -> tf.Tensor:
        return self._gates[layer](mix_rows(self._mixes[layer], x))

    def _s_sum(self, layer: int, states: list[list[_State]]) -> list[tf.Tensor]:
        """S_sum of each behaviour, [B, rows, d]."""
        return [
            tf.dynamic_stitch(
                [state.rows for state in own],
                [summary(state.tokens, state.mask, state.recent) for state in own],
            )
            for summary, own in zip(self._of_layer(self._summaries, layer), states, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "layers": self.layers,
            "heads": self.heads,
            "cls_rows": self.cls_rows,
            "queries": self.queries,
            "recent": self.recent,
            "interaction": self.interaction,
            "rank": self.rank,
            "gate": self.gate,
            "hidden": list(self.hidden),
        }


def last_tokens(mask: tf.Tensor, rows: int) -> tf.Tensor:
    """Where the last `rows` tokens stand: [B, rows, T], 1 at the last token, in the next row at the one before it."""
    behind = tf.cumsum(tf.cast(mask, tf.int32), axis=1, reverse=True)  # 1 at the last token
    place = behind[:, tf.newaxis] == tf.range(1, rows + 1)[:, tf.newaxis]
    return tf.cast(place, mask.dtype) * mask[:, tf.newaxis]
