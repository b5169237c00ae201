"""Fusion: from the members' outputs to one logit, by the paper's readout or by a variant that has a name."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

FUSIONS = ("paper", "sum", "mixture", "mean", "logit_mixture", "logit_mean", "gate")
_READOUTS = ("paper", "sum")
_OF_EQUAL_WEIGHTS = ("mean", "logit_mean")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Fusion(tf.keras.layers.Layer):
    """Fuses members into one logit.

    - paper: z = W [w_1 e_1 | ... | w_M e_M] + b, a linear readout of the weighted output embeddings;
    - sum: z = W (w_1 e_1 + ... + w_M e_M) + b, for output embeddings of one width.
      Source: CETNet (arXiv 2411.13700), section 3.4 and, for the sum, table 4, which does not say whether it is weighted.
      The others are our choice:
    - mixture: sigmoid(z) = sum_m w_m sigmoid(z_m); mean: the same with equal weights;
    - logit_mixture: z = sum_m w_m z_m; logit_mean: the same with equal weights;
    - gate: a mixture by weights softmax(G [e_1 | ... | e_M]) that are learned and not detached.

    Args:
        type: one of the seven.
    Call arguments:
        embeddings: M tensors [B, h_m], float.
        member_logit: [B, M] float, log odds.
        weight: [B, M] float, sums to 1 over M.
        log_weight: [B, M] float, its logarithm, which a mixture is made of; left out, that of `weight` is taken, whose
            gradient is not finite where the weight is 0.
    Returns:
        fused logit [B], and the weights [B, M] that it was made with; float32 under any dtype policy.
    Raises:
        ValueError: `type` is none of the seven, or output embeddings to be summed differ in width.
    """

    def __init__(self, type: str = "paper", **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if type not in FUSIONS:
            raise ValueError(f"`type` must be one of {', '.join(FUSIONS)}. Received: type={type!r}")
        self.type = type
        self._readout: tf.keras.layers.Layer | None = None
        self._gate: tf.keras.layers.Layer | None = None
        if type in _READOUTS:
            self._readout = tf.keras.layers.Dense(1, dtype="float32", name="readout")

    def build(self, input_shape: Any) -> None:
        widths = [int(shape[-1]) for shape in input_shape]
        if self.type == "sum" and len(set(widths)) > 1:
            cure = "give the members' last `hidden` one width, or take fusion `paper`"
            raise ValueError(f"fusion `sum` needs output embeddings of one width. Received: {widths}; {cure}")
        if self.type == "gate":
            self._gate = tf.keras.layers.Dense(len(widths), dtype="float32", name="gate")
        super().build(input_shape)

    def call(
        self,
        embeddings: Sequence[tf.Tensor],
        member_logit: tf.Tensor,
        weight: tf.Tensor,
        log_weight: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logit = tf.cast(member_logit, tf.float32)
        vectors = [tf.cast(embedding, tf.float32) for embedding in embeddings]
        if self._gate is not None:
            score = self._gate(tf.concat(vectors, axis=-1))
            weight, log_weight = tf.nn.softmax(score, axis=-1), tf.nn.log_softmax(score, axis=-1)
        elif self.type in _OF_EQUAL_WEIGHTS:
            weight, log_weight = tf.ones_like(logit) / logit.shape[-1], None
        if self._readout is not None:
            weighted = [vector * weight[:, m : m + 1] for m, vector in enumerate(vectors)]
            together = tf.add_n(weighted) if self.type == "sum" else tf.concat(weighted, axis=-1)
            return self._readout(together)[:, 0], weight
        if self.type.startswith("logit"):
            return tf.reduce_sum(weight * logit, axis=-1), weight
        return _mixture_logit(logit, tf.math.log(weight) if log_weight is None else log_weight), weight

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"type": self.type}


def _mixture_logit(logit: tf.Tensor, log_weight: tf.Tensor) -> tf.Tensor:
    """Log odds of a weighted mean of probabilities: ln sum w p - ln sum w (1 - p), each by log-sum-exp."""
    click = tf.reduce_logsumexp(log_weight + tf.math.log_sigmoid(logit), axis=-1)
    return click - tf.reduce_logsumexp(log_weight + tf.math.log_sigmoid(-logit), axis=-1)
