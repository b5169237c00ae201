"""Metrics that grow batch by batch give what the exact ones give of all rows at once, in bins of their own."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec
from cetnet_keras.metrics import calibration, normalised_entropy
from cetnet_keras.streaming_metrics import CalibrationRatio, ExpectedCalibrationError, NormalisedEntropy

METRICS = (CalibrationRatio, NormalisedEntropy, ExpectedCalibrationError)


def error_by_bins(y: np.ndarray, p: np.ndarray, w: np.ndarray, bins: int) -> float:
    edges = 1 / (1 + np.exp(-np.linspace(-8, 8, bins - 1)))
    which = (p[:, np.newaxis] >= edges).sum(axis=1)
    return sum(abs((w * (p - y))[which == place].sum()) for place in range(bins)) / w.sum()


EXACT = {
    CalibrationRatio: calibration,
    NormalisedEntropy: normalised_entropy,
    ExpectedCalibrationError: lambda y, p, w: error_by_bins(y, p, w, 34),
}


def rows(count: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 10, count)
    return (rng.random(count) < p).astype(np.float64), p, rng.random(count) * 3


@pytest.mark.parametrize("metric", METRICS)
def test_batches_add_up_to_the_exact_figure(metric: Any) -> None:
    (y, p, w), streaming = rows(), metric()
    for part in np.array_split(np.arange(len(y)), 7):
        streaming.update_state(y[part], p[part], w[part])
    assert float(streaming.result()) == pytest.approx(EXACT[metric](y, p, w), rel=1e-9)
    streaming.reset_state()
    streaming.update_state(y[:, np.newaxis], p[:, np.newaxis])
    assert float(streaming.result()) == pytest.approx(EXACT[metric](y, p, np.ones_like(y)), rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_its_config_makes_it_again(metric: Any) -> None:
    config = tf.keras.metrics.serialize(metric(name="mine"))
    again = tf.keras.metrics.deserialize(config)
    assert isinstance(again, metric) and again.get_config() == metric(name="mine").get_config()


def test_one_label_alone_has_no_entropy_and_no_click_no_ratio() -> None:
    for metric in (CalibrationRatio(), NormalisedEntropy()):
        metric.update_state([0.0, 0.0], [0.1, 0.2])
        assert np.isnan(metric.result())


def test_predicting_the_rate_of_soft_labels_says_no_more_than_the_rate() -> None:
    metric = NormalisedEntropy()
    metric.update_state([0.4, 0.4], [0.4, 0.4])
    assert float(metric.result()) == pytest.approx(1)


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`bins` must be 3 or more. Received: bins=2"):
        ExpectedCalibrationError(2)


@pytest.mark.parametrize("keep", [1.0, 0.25])
def test_fit_and_evaluate_log_them_of_the_prediction_that_is_served(
    keep: float,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, Any],
    label: np.ndarray,
    tiny_members: list[dict[str, Any]],
) -> None:
    model = CETNet(spec.model_copy(update={"negative_keep_rate": keep}), sizes, tiny_members[:2])
    weight = np.array([1.0, 2.0, 0.5])
    model.compile("sgd", metrics=[tf.keras.metrics.AUC(name="auc")], weighted_metrics=[CalibrationRatio()])
    history = model.fit(batch, label, sample_weight=weight, epochs=2, verbose=0).history
    assert {"loss", "loss_fused", "calibration", "auc"} <= set(history)
    rows = np.where(label == 1, weight, weight / keep)

    def promised() -> float:
        found = model.evaluate(batch, label, sample_weight=weight, verbose=0, return_dict=True)
        expected = calibration(label, model.predict(batch, verbose=0)["ctr"], rows)
        assert found["calibration"] == pytest.approx(expected, rel=1e-5)
        assert {key for key in found if key in ("auc", "loss_fused")} == {"auc", "loss_fused"}
        return expected

    before = promised()
    model.calibration.c.assign([0.5, 0, 0])  # as `calibrate` does
    assert promised() > before
