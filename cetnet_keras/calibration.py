"""Calibration: curves for the log odds of an ensemble and its members, fitted on rows that training did not learn from."""

from typing import Any

import numpy as np
import tensorflow as tf

_STEPS = 50  # of Newton's method, which needs about six
_LEAST = 0.05  # of a and b, and of a curve's slope in z: with 0 rows at one end would all get the same


@tf.keras.utils.register_keras_serializable(package="cetnet")
class Calibration(tf.keras.layers.Layer):
    """Puts log odds z, p = sigmoid(z), on curves: a ln p - b ln(1 - p) + c, and for the ensemble + (d + e z) s.

    The first three terms are beta calibration: with a = b Platt's line a z + c, but models that stop by AUC are often surer
    of no click than of a click, or the other way round, which a line cannot mend. Source: Kull, Silva Filho and Flach
    2017 (PMLR 54:623-631). The last two are our choice: s is the standard deviation of the members' log odds of an
    example, where e < 0 at most (min(a, b) - 0.05) / -e, so that the slope in z, a (1 - p) + b p + e s, is 0.05 or more.
    Where members disagree, all of them know less than they say, and the mean of what they say is drawn towards the rate of
    such rows. The curves of members keep the order of the rows; that of the ensemble does among rows of equal
    disagreement. The curves start as the identity, a = b = 1 and c = d = e = 0, and no training step moves them; `fit`
    does, after training.

    Call arguments:
        logit: [B, 1 + M] float: of the ensemble, then of each member.
    Returns:
        [B, 1 + M] float32 under any dtype policy.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs | {"trainable": False})

    def build(self, input_shape: Any) -> None:
        columns, options = [int(input_shape[-1])], {"dtype": tf.float32, "experimental_autocast": False}
        self.a = self.add_weight("a", columns, initializer="ones", **options)
        self.b = self.add_weight("b", columns, initializer="ones", **options)
        self.c = self.add_weight("c", columns, initializer="zeros", **options)
        self.disagreement = self.add_weight("disagreement", [2], initializer="zeros", **options)  # d, e
        super().build(input_shape)

    def call(self, logit: tf.Tensor) -> tf.Tensor:
        z = tf.cast(logit, tf.float32)
        # b z + (b - a) softplus(-z) + c: the identity costs no digit
        curves = self.b * z + (self.b - self.a) * tf.math.softplus(-z) + self.c
        spread = tf.math.reduce_std(z[:, 1:], axis=1, keepdims=True)
        d, e = tf.unstack(self.disagreement)
        together = (d + e * z[:, :1]) * _capped(spread, self.a[0], self.b[0], e)
        return tf.concat([curves[:, :1] + together, curves[:, 1:]], axis=1)

    def fit(self, logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Sets the curves to those that fit the rows best; one whose log odds tell nothing is only shifted.

        Args:
            logit: [N, 1 + M], what is put on curves.
            label: [N], 0 or 1.
            weight: [N], how often a row counts; 1 if left out.
        """
        z = np.asarray(logit, np.float64)
        ensemble = calibration_curve(z[:, 0], label, weight, z[:, 1:].std(axis=1))
        curves = np.array(
            [ensemble[:3], *(calibration_curve(column, label, weight) for column in z[:, 1:].T)]
        )
        for variable, values in zip((self.a, self.b, self.c), curves.T, strict=True):
            variable.assign(values)
        self.disagreement.assign(ensemble[3:])


def calibration_curve(
    logit: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None, spread: np.ndarray | None = None
) -> np.ndarray:
    """a, b, c and, with a spread, d and e of least log loss, all drawn to the identity as by one row more.

    Minimises sum_i w_i BCE(curve(z_i, s_i), y_i) + ((a - 1)^2 + (b - 1)^2 + c^2 + d^2 + e^2) / 2 by Newton's method with
    halved steps. The second term, our choice, keeps the curve finite where few rows are there or all of one class.
    Where the best a or b is below 0.05 it is 0.05, and the others are fitted to that. The most that counts of s follows
    from a, b and e; where a row has more, c and d are fitted once more, so that the clicks promised stay right.

    Args:
        logit, label, weight: [N].
        spread: s, [N], 0 or more.
    Returns:
        [3] or [5]; the identity where a logit is not finite, and with its c fitted where neither a nor b is above that.
    """
    z = np.asarray(logit, np.float64)
    s = None if spread is None else np.asarray(spread, np.float64)
    identity = np.array([1.0, 1.0, 0.0] if s is None else [1.0, 1.0, 0.0, 0.0, 0.0])
    if not (np.isfinite(z).all() and (s is None or np.isfinite(s).all())):
        return identity
    rows = _terms(z, s)
    y = np.asarray(label, np.float64)
    w = np.ones_like(y) if weight is None else np.asarray(weight, np.float64)
    curve = _least_cost(rows, y, w, identity, identity, np.ones(len(identity), bool))
    low = np.arange(len(identity)) < 2
    low &= curve < _LEAST
    if low.any():
        curve = _least_cost(rows, y, w, identity, np.where(low, _LEAST, identity), ~low)
    if s is not None and (counted := _counted(s, curve)).max(initial=0) < s.max(initial=0):
        free = np.array([False, False, True, True, False])
        curve = _least_cost(_terms(z, counted), y, w, identity, curve, free)
    if not ((curve[:2] > _LEAST).any() and (curve[:2] >= _LEAST).all()):  # the log odds tell nothing
        return _least_cost(rows, y, w, identity, identity, np.arange(len(identity)) == 2)
    return curve


def on_curve(curve: np.ndarray, logit: np.ndarray, spread: np.ndarray | None = None) -> np.ndarray:
    """The log odds [N] on a curve [3], or [5] with a spread, as the layer computes them."""
    return _terms(logit, None if spread is None else _counted(spread, curve)) @ curve


def _counted(s: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """How much of the spread [N] a curve [5] counts."""
    a, b, _, _, e = curve
    return np.asarray(_capped(s, a, b, e))


def _capped(spread: Any, a: Any, b: Any, e: Any) -> tf.Tensor:
    """The spread of each row, no larger than leaves every slope a (1 - p) + b p + e s at 0.05 or more; any float dtype."""
    room = tf.maximum(tf.minimum(a, b) - _LEAST, 0)
    return tf.where(-e * spread > room, tf.math.divide_no_nan(room, -e), spread)


def _terms(z: np.ndarray, s: np.ndarray | None) -> np.ndarray:
    """What a, b, c, d and e are multiplied by: [N, 3], or [N, 5] with a spread."""
    terms = [-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)]
    return np.stack(terms if s is None else [*terms, s, s * z], axis=1)


def _least_cost(
    rows: np.ndarray, y: np.ndarray, w: np.ndarray, identity: np.ndarray, start: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Newton's method over the free coefficients; the others stay as they start."""

    def cost(at: np.ndarray) -> float:
        odds = rows @ at
        return float(w @ (np.logaddexp(0, odds) - y * odds) + ((at - identity) ** 2).sum() / 2)

    at, now = start, cost(start)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(rows @ at / 2))
        slope = rows.T @ (w * (p - y)) + at - identity
        curvature = (rows * (w * p * (1 - p))[:, np.newaxis]).T @ rows + np.eye(len(at))
        step, length = np.zeros(len(at)), 1.0
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        while (then := cost(at - length * step)) > now and length > 1e-6:
            length /= 2
        if now - then <= 1e-12 * abs(now):
            break
        at, now = at - length * step, then
    return at
