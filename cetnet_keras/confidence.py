"""How much each member's word weighs, example by example."""

from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="cetnet")
class ConfidenceWeight(tf.keras.layers.Layer):
    """Weighs the members, example by example, by how sure each one is: w = softmax(-H(sigmoid(z)) / temperature).

    Source: CETNet (arXiv 2411.13700), section 3.4; no gradient flows through w (its "gradient stop"). Temperature: our
    choice.

    Args:
        temperature: float above 0. Towards 0 the surest member decides alone, towards infinity all count alike.
    Call arguments:
        member_logit: [B, M] float, log odds of a click.
    Returns:
        weight [B, M], sums to 1 over M; confidence [B, M] in nats, -ln 2 to 0. Both float32 under any dtype policy.
    Raises:
        ValueError: `temperature` is not above 0.
    """

    def __init__(self, temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # a mixed policy must not round the logits on their way in
        if not temperature > 0:  # this way round NaN is refused too
            raise ValueError(f"`temperature` must be above 0. Received: temperature={temperature!r}")
        self.temperature = temperature

    def call(self, member_logit: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.abs(
            tf.stop_gradient(tf.cast(member_logit, tf.float32))
        )  # H(z) = H(-z); on |z| nothing cancels
        confidence = -tf.math.softplus(-size) - size * tf.sigmoid(-size)  # [B, M]
        return tf.nn.softmax(confidence / self.temperature, axis=-1), confidence

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"temperature": self.temperature}
