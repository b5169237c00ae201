"""Platt scaling: a line for each output's log odds, fitted on rows that training did not learn from."""

from typing import Any

import numpy as np
import tensorflow as tf

_STEPS = 50  # of Newton's method, which needs about six


@tf.keras.utils.register_keras_serializable(package="cetnet")
class PlattScaling(tf.keras.layers.Layer):
    """Puts log odds on lines of their own: scale * z + shift. It keeps the order of the rows, so AUC does not move.

    The lines start as the identity and no training step moves them; `fit` does, after training. Source: Platt 1999; that
    every member has its own beside the fused prediction's is our choice.

    Call arguments:
        logit: [B, n] float.
    Returns:
        [B, n] float32 under any dtype policy.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, trainable=False, **kwargs)

    def build(self, input_shape: Any) -> None:
        shape, options = [int(input_shape[-1])], {"dtype": tf.float32, "experimental_autocast": False}
        self.scale = self.add_weight("scale", shape, initializer="ones", **options)
        self.shift = self.add_weight("shift", shape, initializer="zeros", **options)
        super().build(input_shape)

    def call(self, logit: tf.Tensor) -> tf.Tensor:
        return tf.cast(logit, tf.float32) * self.scale + self.shift

    def fit(self, logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Sets the lines to those that fit the rows best; one whose log odds tell nothing stays as it began.

        Args:
            logit: [N, n] what is put on lines.
            label: [N], 0 or 1.
            weight: [N], how often a row counts; 1 if left out.
        """
        lines = np.array([platt_line(column, label, weight) for column in np.asarray(logit).T])
        self.scale.assign(lines[:, 0])
        self.shift.assign(lines[:, 1])


def platt_line(logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """The scale and the shift of least log loss, both drawn to the identity as by one row more.

    Minimises sum_i w_i BCE(scale z_i + shift, y_i) + ((scale - 1)^2 + shift^2) / 2 by Newton's method with halved steps.
    The second term, our choice, keeps the line finite where few rows are there or all of one class.

    Args:
        logit, label, weight: [N].
    Returns:
        the identity (1, 0) where a logit is not finite or the best scale is not above 0.
    """
    z, y = np.asarray(logit, np.float64), np.asarray(label, np.float64)
    w = np.ones_like(y) if weight is None else np.asarray(weight, np.float64)
    if not np.isfinite(z).all():
        return 1.0, 0.0
    features, identity = np.stack([z, np.ones_like(z)], axis=1), np.array([1.0, 0.0])

    def cost(line: np.ndarray) -> float:
        odds = features @ line
        return float(w @ (np.logaddexp(0, odds) - y * odds) + ((line - identity) ** 2).sum() / 2)

    line, now = identity, cost(identity)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(features @ line / 2))
        slope = features.T @ (w * (p - y)) + line - identity
        curvature = (features * (w * p * (1 - p))[:, np.newaxis]).T @ features + np.eye(2)
        step, length = np.linalg.solve(curvature, slope), 1.0
        while (then := cost(line - length * step)) > now and length > 1e-6:
            length /= 2
        if now - then <= 1e-9 * abs(now):
            break
        line, now = line - length * step, then
    return (float(line[0]), float(line[1])) if line[0] > 0 else (1.0, 0.0)
