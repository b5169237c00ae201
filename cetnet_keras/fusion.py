"""Fusion: from the members' outputs to one logit, by the paper's readout or by a variant that has a name."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

FUSIONS = ("paper", "mixture", "logit_mean", "mean")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Fusion(tf.keras.layers.Layer):
    """Fuses members into one logit.

    - paper: z = W [w_1 e_1 | ... | w_M e_M] + b, a linear readout of the weighted output embeddings.
      Source: CETNet (arXiv 2411.13700), section 3.4. The others are our choice:
    - mixture: sigmoid(z) = sum_m w_m sigmoid(z_m), with the same weights;
    - mean: the mixture with equal weights;
    - logit_mean: z = mean of z_m.

    Args:
        type: one of the four.
    Call arguments:
        embeddings: M tensors [B, h_m], float.
        member_logit: [B, M] float, log odds.
        weight: [B, M] float, sums to 1 over M.
    Returns:
        fused logit [B] float32, under any dtype policy.
    Raises:
        ValueError: `type` is none of the four.
    """

    def __init__(self, type: str = "paper", **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if type not in FUSIONS:
            raise ValueError(f"`type` must be one of {', '.join(FUSIONS)}. Received: type={type!r}")
        self.type = type
        self._readout = None
        if type == "paper":
            self._readout = tf.keras.layers.Dense(1, dtype="float32", name="readout")

    def call(self, embeddings: Sequence[tf.Tensor], member_logit: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        logit = tf.cast(member_logit, tf.float32)
        if self._readout is not None:
            weighted = [tf.cast(e, tf.float32) * weight[:, m : m + 1] for m, e in enumerate(embeddings)]
            return self._readout(tf.concat(weighted, axis=-1))[:, 0]
        if self.type == "logit_mean":
            return tf.reduce_mean(logit, axis=-1)
        if self.type == "mean":
            weight = tf.ones_like(logit) / logit.shape[-1]
        return _mixture_logit(logit, tf.math.log(weight))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"type": self.type}


def _mixture_logit(logit: tf.Tensor, log_weight: tf.Tensor) -> tf.Tensor:
    """Log odds of a weighted mean of probabilities: ln sum w p - ln sum w (1 - p), each by log-sum-exp."""
    click = tf.reduce_logsumexp(log_weight + tf.math.log_sigmoid(logit), axis=-1)
    return click - tf.reduce_logsumexp(log_weight + tf.math.log_sigmoid(-logit), axis=-1)
