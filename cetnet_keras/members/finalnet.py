"""FinalNet: layers that multiply halves of what they compute, so that each doubles the degree of interaction."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cetnet_keras.behaviours import with_pooled_rows
from cetnet_keras.embeddings import EmbeddedFeatures, FeatureBatch
from cetnet_keras.field_rows import FieldRows
from cetnet_keras.members.base import Member, MemberOutput
from cetnet_keras.members.registry import register_member
from cetnet_keras.mlp import Mlp, RowDense


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FactorisedInteraction(tf.keras.layers.Dense):
    """activation([h | h * g]), with [h | g] = W x + b: linear terms and products of two of them.

    Source: FINAL (Zhu et al., SIGIR 2023, DOI 10.1145/3539618.3591988), as in its authors' code, which concatenates h and
    h * g and puts no activation on g.

    Args:
        units: width of the output, even. activation: as of a dense layer.
    Call arguments:
        inputs: [B, n].
    Returns:
        [B, units].
    Raises:
        ValueError: `units` is odd.
    """

    def __init__(self, units: int, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(units, activation, **kwargs)
        if units % 2:
            raise ValueError(f"a factorised interaction needs an even width. Received: units={units}")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        both = tf.matmul(tf.cast(inputs, self.compute_dtype), self.kernel) + self.bias
        linear, factor = tf.split(both, 2, axis=-1)
        return self.activation(tf.concat([linear, linear * factor], axis=-1))


@tf.keras.utils.register_keras_serializable(package="cetnet")
class FinalBlock(Mlp):
    """An Mlp whose layers are factorised interactions; they keep their biases before a batch normalisation too."""

    def make_layer(self, units: int, activation: Any) -> tf.keras.layers.Layer:
        return FactorisedInteraction(units, activation, dtype=self.dtype_policy)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class RowGate(tf.keras.layers.Layer):
    """[X | X * (W X + b)], W mixing the rows; it starts with X twice. Source: as the member's.

    Call arguments:
        rows: [B, n, d].
    Returns:
        [B, 2 n, d].
    """

    def build(self, input_shape: Any) -> None:
        rows = int(input_shape[1])
        self._mix = RowDense(
            rows, kernel_initializer="zeros", bias_initializer="ones", dtype=self.dtype_policy, name="mix"
        )
        super().build(input_shape)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        gates = tf.transpose(self._mix(tf.transpose(rows, [0, 2, 1])), [0, 2, 1])
        return tf.concat([rows, rows * gates], axis=1)


@register_member("finalnet")
class FinalNetMember(Member):
    """One block of factorised interactions, or two that learn from their mean.

    The first block reads X and, with `gate`, X * (W X + b), W mixing the rows; the second reads X. Each has a linear
    readout y_i, the log odds are their mean, and BCE(y_i, mean), the mean detached, is added to the loss:
    self-distillation.
    Source: FINAL (Zhu et al., SIGIR 2023, DOI 10.1145/3539618.3591988) and its authors' code, which normalises hidden units
    unless told otherwise: `batch_norm: true` here. Rows (numbers as one, the mean of each sequence) and the output
    embedding are our choice.

    Args:
        hidden: widths of the first block. second_hidden: of the second; an empty list leaves it out.
        second_dropout: of the second's; none: `dropout`, which is the first's.
        activation: in the blocks.
        gate: whether the first block reads gated rows beside the rows.
    Output embedding:
        [first block | second block].
    Raises:
        ValueError: an odd width, no width for the first block, or a `projection`.
    """

    def __init__(
        self,
        *args: Any,
        hidden: Sequence[int] = (128, 64),
        second_hidden: Sequence[int] = (64,),
        second_dropout: float | None = None,
        activation: str = "linear",
        gate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.refuse_projection()
        self.hidden, self.second_hidden, self.second_dropout = (
            tuple(hidden),
            tuple(second_hidden),
            second_dropout,
        )
        self.activation, self.gate, policy = activation, gate, self.dtype_policy
        if not self.hidden:
            raise ValueError("`hidden` must have a width. Received: an empty list")
        self._rows = FieldRows(dtype=policy, name="rows")
        self._row_gate = RowGate(dtype=policy, name="gate") if gate else None
        second = self.dropout if second_dropout is None else second_dropout
        blocks = {"block": (self.hidden, self.dropout), "second_block": (self.second_hidden, second)}
        used = {name: of for name, of in blocks.items() if of[0]}
        self._blocks = [
            FinalBlock(widths, activation, dropout, self.batch_norm, dtype=policy, name=name)
            for name, (widths, dropout) in used.items()
        ]
        self._readouts = [tf.keras.layers.Dense(1, dtype="float32", name=f"{name}_logit") for name in used]

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        rows = with_pooled_rows(self._rows((features.fields, features.dense)), features)
        gated = rows if self._row_gate is None else self._row_gate(rows)
        flat = [tf.reshape(x, [-1, x.shape[1] * x.shape[2]]) for x in (gated, rows)]
        blocks = zip(self._blocks, flat, strict=False)  # the second may not be there
        return tf.concat([block(x, training=training) for block, x in blocks], axis=-1)

    def _block_logits(self, embedding: tf.Tensor) -> tf.Tensor:
        """Each block's own log odds, [B, 1 or 2] float32."""
        parts = tf.split(embedding, [block.units[-1] for block in self._blocks], axis=-1)
        return tf.concat([readout(x) for readout, x in zip(self._readouts, parts, strict=True)], axis=-1)

    def logit(self, embedding: tf.Tensor, training: bool | None) -> tf.Tensor:
        return tf.reduce_mean(self._block_logits(embedding), axis=-1)

    def call(self, batch: FeatureBatch, training: bool | None = None) -> MemberOutput:
        output = super().call(batch, training)
        if not self.second_hidden:
            return output
        teacher = tf.stop_gradient(tf.sigmoid(output.logit))[:, tf.newaxis]
        each = self._block_logits(output.embedding)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.tile(teacher, [1, 2]), each)
        return output._replace(extra_loss=tf.reduce_sum(loss, axis=-1))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": list(self.hidden),
            "second_hidden": list(self.second_hidden),
            "second_dropout": self.second_dropout,
            "activation": self.activation,
            "gate": self.gate,
        }
