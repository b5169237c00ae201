"""Beta calibration: a curve for each output's log odds, fitted on rows that training did not learn from."""

from typing import Any

import numpy as np
import tensorflow as tf

_STEPS = 50  # of Newton's method, which needs about six
_LEAST = 0.05  # of a and b: with 0 rows at one end would all get the same
_IDENTITY = np.array([1.0, 1.0, 0.0])


@tf.keras.utils.register_keras_serializable(package="cetnet")
class BetaCalibration(tf.keras.layers.Layer):
    """Puts log odds z, p = sigmoid(z), on curves of their own: a ln p - b ln(1 - p) + c.

    With a = b it is Platt's line a z + c; models that stop by AUC are often surer of no click than of a click, or the other
    way round, and a line cannot mend that. It keeps the order of the rows, so that AUC does not move. The curves start
    as the identity, a = b = 1 and c = 0, and no training step moves them; `fit` does, after training. Source: Kull,
    Silva Filho and Flach 2017 (PMLR 54:623-631); that every member has its own beside the fused prediction's is our
    choice.

    Call arguments:
        logit: [B, n] float.
    Returns:
        [B, n] float32 under any dtype policy.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, trainable=False, **kwargs)

    def build(self, input_shape: Any) -> None:
        shape, options = [int(input_shape[-1])], {"dtype": tf.float32, "experimental_autocast": False}
        self.a = self.add_weight("a", shape, initializer="ones", **options)
        self.b = self.add_weight("b", shape, initializer="ones", **options)
        self.c = self.add_weight("c", shape, initializer="zeros", **options)
        super().build(input_shape)

    def call(self, logit: tf.Tensor) -> tf.Tensor:
        z = tf.cast(logit, tf.float32)
        # b z + (b - a) softplus(-z) + c: the identity costs no digit
        return self.b * z + (self.b - self.a) * tf.math.softplus(-z) + self.c

    def fit(self, logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Sets the curves to those that fit the rows best; one whose log odds tell nothing stays as it began.

        Args:
            logit: [N, n], what is put on curves.
            label: [N], 0 or 1.
            weight: [N], how often a row counts; 1 if left out.
        """
        curves = np.array([beta_curve(column, label, weight) for column in np.asarray(logit).T])
        for variable, values in zip((self.a, self.b, self.c), curves.T, strict=True):
            variable.assign(values)


def beta_curve(logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """a, b and c of least log loss, all drawn to the identity as by one row more.

    Minimises sum_i w_i BCE(a ln p_i - b ln(1 - p_i) + c, y_i) + ((a - 1)^2 + (b - 1)^2 + c^2) / 2 by Newton's method with
    halved steps. The second term, our choice, keeps the curve finite where few rows are there or all of one class.
    Where the best a or b is below 0.05 it is 0.05, and the others are fitted to that.

    Args:
        logit, label, weight: [N].
    Returns:
        [3]; the identity where a logit is not finite, or where neither a nor b is above that.
    """
    z = np.asarray(logit, np.float64)
    if not np.isfinite(z).all():
        return _IDENTITY
    rows = np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)], axis=1)
    y = np.asarray(label, np.float64)
    w = np.ones_like(y) if weight is None else np.asarray(weight, np.float64)
    curve, free = _least_cost(rows, y, w, _IDENTITY, np.ones(3, bool)), np.ones(3, bool)
    low = np.append(curve[:2] < _LEAST, False)
    if low.any():
        free = ~low
        curve = _least_cost(rows, y, w, np.where(low, _LEAST, _IDENTITY), free)
    return curve if (curve[:2] > _LEAST).any() and (curve[:2] >= _LEAST).all() else _IDENTITY


def apply_curve(curve: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """The log odds [N] on a curve [3], as the layer computes them."""
    a, b, c = curve
    return b * logit + (b - a) * np.logaddexp(0, -logit) + c


def _least_cost(
    rows: np.ndarray, y: np.ndarray, w: np.ndarray, start: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Newton's method over the free coefficients; the others stay as they start."""

    def cost(at: np.ndarray) -> float:
        odds = rows @ at
        return float(w @ (np.logaddexp(0, odds) - y * odds) + ((at - _IDENTITY) ** 2).sum() / 2)

    at, now = start, cost(start)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(rows @ at / 2))
        slope = rows.T @ (w * (p - y)) + at - _IDENTITY
        curvature = (rows * (w * p * (1 - p))[:, np.newaxis]).T @ rows + np.eye(3)
        step, length = np.zeros(3), 1.0
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        while (then := cost(at - length * step)) > now and length > 1e-6:
            length /= 2
        if now - then <= 1e-12 * abs(now):
            break
        at, now = at - length * step, then
    return at
