"""Keras metrics of click predictions for `compile(metrics=...)`: sums that grow batch by batch, over all replicas.

A streaming group AUC is not here: it needs every score of every group. `cetnet_keras.metrics.group_auc` is exact, and the
pipeline measures with it at each evaluation.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from cetnet_keras.metrics import EPSILON


class _Sums(tf.keras.metrics.Metric):
    """Base: sums [n] in float64, so that a million rows more still count."""

    def __init__(self, name: str, size: int, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._sums = self.add_weight("sums", [size], dtype=tf.float64, initializer="zeros")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> tf.Operation:
        """Adds rows: labels, probabilities of a click and, if they differ from 1, weights, each of N values."""
        y, p = (tf.cast(tf.reshape(x, [-1]), tf.float64) for x in (y_true, y_pred))
        w = tf.ones_like(y) if sample_weight is None else tf.cast(tf.reshape(sample_weight, [-1]), tf.float64)
        return self._sums.assign_add(self.sums_of(y, p, w))

    def reset_state(self) -> None:
        self._sums.assign(tf.zeros_like(self._sums))

    def sums_of(self, y: tf.Tensor, p: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        """What rows [N] add to the sums."""
        raise NotImplementedError(f"{type(self).__name__} has no sums_of")


@tf.keras.utils.register_keras_serializable(package="cetnet")
class CalibrationRatio(_Sums):
    """Predicted clicks over actual ones, as `cetnet_keras.metrics.calibration`; NaN without a click."""

    def __init__(self, name: str = "calibration", **kwargs: Any) -> None:
        super().__init__(name, 2, **kwargs)

    def sums_of(self, y: tf.Tensor, p: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.tensordot(w, p, 1), tf.tensordot(w, y, 1)])

    def result(self) -> tf.Tensor:
        return tf.where(self._sums[1] > 0, self._sums[0] / self._sums[1], np.nan)


@tf.keras.utils.register_keras_serializable(package="cetnet")
class NormalisedEntropy(_Sums):
    """Log loss over that of the click rate, as `cetnet_keras.metrics.normalised_entropy`; NaN for one label alone."""

    def __init__(self, name: str = "normalised_entropy", **kwargs: Any) -> None:
        super().__init__(name, 3, **kwargs)

    def sums_of(self, y: tf.Tensor, p: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        p = tf.clip_by_value(p, EPSILON, 1 - EPSILON)
        loss = -y * tf.math.log(p) - (1 - y) * tf.math.log1p(-p)
        return tf.stack([tf.tensordot(w, loss, 1), tf.tensordot(w, y, 1), tf.reduce_sum(w)])

    def result(self) -> tf.Tensor:
        loss, clicks, rows = tf.unstack(self._sums)
        rate = clicks / rows
        return loss / rows / -(rate * tf.math.log(rate) + (1 - rate) * tf.math.log1p(-rate))


@tf.keras.utils.register_keras_serializable(package="cetnet")
class ExpectedCalibrationError(_Sums):
    """Mean over bins of |clicks predicted - clicks that happened| a row.

    The exact figure has bins of equal numbers of rows, which no stream knows beforehand: these are of equal width in log
    odds, from -8 to 8, so that rare clicks are told apart too. Source: our choice.

    Args:
        bins: 3 or more, the two ends open.
    """

    def __init__(self, bins: int = 34, name: str = "expected_calibration_error", **kwargs: Any) -> None:
        if bins < 3:
            raise ValueError(f"`bins` must be 3 or more. Received: bins={bins!r}")
        super().__init__(name, bins + 1, **kwargs)
        self.bins = bins
        self._edges = 1 / (1 + np.exp(-np.linspace(-8, 8, bins - 1)))

    def sums_of(self, y: tf.Tensor, p: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        which = tf.searchsorted(tf.constant(self._edges, tf.float64), p, side="right")
        gaps = tf.math.unsorted_segment_sum(w * (p - y), which, self.bins)
        return tf.concat([gaps, [tf.reduce_sum(w)]], axis=0)

    def result(self) -> tf.Tensor:
        return tf.reduce_sum(tf.abs(self._sums[:-1])) / self._sums[-1]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bins": self.bins}
