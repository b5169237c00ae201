"""How much each member's word weighs, example by example."""

import math
from typing import Any

import tensorflow as tf

CONFIDENCES = ("entropy", "base_rate")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class ConfidenceWeight(tf.keras.layers.Layer):
    """Weighs the members, example by example, by how sure each one is: w = softmax(c / temperature + prior).

    - confidence "entropy": c = -H(p), p = sigmoid(z). Source: CETNet (arXiv 2411.13700), section 3.4, with temperature 1,
      no prior, and no gradient through w (its "gradient stop"). Everything else is our choice:
    - confidence "base_rate": c = KL(p || r), r the click rate of the rows seen in training. Negative entropy is at its
      largest at p = 0, so that where clicks are rare the member that says less is believed; this one is 0 at p = r.

    Args:
        temperature: float above 0. Towards 0 the surest member decides alone, towards infinity all count alike.
        learned_temperature: whether training moves it; it starts there.
        learned_prior: whether each member has a number of its own, which starts at 0.
        confidence: one of the two.
        gradient_stop: whether c gets no gradient; temperature and prior do.
        calibrated: whether c is read off a_m z_m + b_m, which CETNet trains on the label while z_m rests: else a member
            wins by being loudly wrong. a starts at 1 and b at 0.
    Call arguments:
        member_logit: [B, M] float, log odds of a click.
    Returns:
        weight [B, M], sums to 1 over M; confidence c [B, M] in nats: of entropy -ln 2 to 0, of base_rate 0 or more. Both
        float32 under any dtype policy.
    Raises:
        ValueError: `temperature` is not above 0, or `confidence` is none of the two.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        learned_temperature: bool = False,
        learned_prior: bool = False,
        confidence: str = "entropy",
        gradient_stop: bool = True,
        calibrated: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # a mixed policy must not round the logits on their way in
        if not temperature > 0:  # this way round NaN is refused too
            raise ValueError(f"`temperature` must be above 0. Received: temperature={temperature!r}")
        if confidence not in CONFIDENCES:
            known = ", ".join(CONFIDENCES)
            raise ValueError(f"`confidence` must be one of {known}. Received: confidence={confidence!r}")
        self.temperature, self.learned_temperature = temperature, learned_temperature
        self.learned_prior, self.confidence = learned_prior, confidence
        self.gradient_stop, self.calibrated = gradient_stop, calibrated
        self._log_temperature: tf.Variable | None = None
        self._prior: tf.Variable | None = None
        self._scale: tf.Variable | None = None
        self._shift: tf.Variable | None = None
        self._seen: tf.Variable | None = None

    def build(self, input_shape: Any) -> None:
        members, constant = [int(input_shape[-1])], tf.keras.initializers.Constant
        if self.learned_temperature:
            self._log_temperature = self._number("log_temperature", [], constant(math.log(self.temperature)))
        if self.learned_prior:
            self._prior = self._number("prior", members, "zeros")
        if self.calibrated:
            self._scale = self._number("scale", members, "ones")
            self._shift = self._number("shift", members, "zeros")
        if self.confidence == "base_rate":
            self._seen = self._number(  # clicks and rows; half a click of one row before there are any
                "seen",
                [2],
                constant([0.5, 1.0]),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_WRITE,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        super().build(input_shape)

    def _number(self, name: str, shape: list[int], first: Any, **options: Any) -> tf.Variable:
        """A weight that is float32 under any dtype policy."""
        return self.add_weight(name, shape, tf.float32, first, experimental_autocast=False, **options)

    def calibrated_logit(self, member_logit: tf.Tensor) -> tf.Tensor:
        """a_m z_m + b_m [B, M], through which no gradient reaches z."""
        return self._scale * tf.stop_gradient(tf.cast(member_logit, tf.float32)) + self._shift

    def observe(self, clicks: tf.Tensor, rows: tf.Tensor) -> None:
        """Counts the clicks and rows, [] each, of a global batch for the click rate of "base_rate"."""
        if self._seen is not None:
            self._seen.assign_add(tf.stack([clicks, rows]))

    def call(self, member_logit: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logit = tf.cast(member_logit, tf.float32)
        if self._scale is not None:
            logit = self._scale * logit + self._shift
        confidence = self._confidence(tf.stop_gradient(logit) if self.gradient_stop else logit)  # [B, M]
        return tf.nn.softmax(self._scaled(confidence), axis=-1), confidence

    def log_weight(self, confidence: tf.Tensor) -> tf.Tensor:
        """ln w [B, M] of the c [B, M] that a call gave: finite where w is too small for float32."""
        return tf.nn.log_softmax(self._scaled(confidence), axis=-1)

    def _scaled(self, confidence: tf.Tensor) -> tf.Tensor:
        if self._log_temperature is None:
            scaled = confidence / self.temperature
        else:
            scaled = confidence * tf.exp(-self._log_temperature)
        return scaled if self._prior is None else scaled + self._prior

    def _confidence(self, logit: tf.Tensor) -> tf.Tensor:
        size = tf.abs(logit)  # H(z) = H(-z); on |z| nothing cancels
        negative_entropy = -tf.math.softplus(-size) - size * tf.sigmoid(-size)
        if self._seen is None:
            return negative_entropy
        rate, p = tf.clip_by_value(self._seen[0] / self._seen[1], 1e-6, 1 - 1e-6), tf.sigmoid(logit)
        divergence = negative_entropy - p * tf.math.log(rate) - (1 - p) * tf.math.log1p(-rate)
        return tf.maximum(divergence, 0.0)  # rounding may leave a little below

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "temperature": self.temperature,
            "learned_temperature": self.learned_temperature,
            "learned_prior": self.learned_prior,
            "confidence": self.confidence,
            "gradient_stop": self.gradient_stop,
            "calibrated": self.calibrated,
        }
