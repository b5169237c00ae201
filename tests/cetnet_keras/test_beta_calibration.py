"""Beta calibration against its formula, and within a CETNet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import BetaCalibration, CETNet, DataSpec
from cetnet_keras.beta_calibration import apply_curve, beta_curve
from cetnet_keras.metrics import calibration


def formula(curve: np.ndarray, z: np.ndarray) -> np.ndarray:
    a, b, c = curve
    p = 1 / (1 + np.exp(-z))
    return a * np.log(p) - b * np.log(1 - p) + c


def rows(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, count)
    return truth, (rng.random(count) < 1 / (1 + np.exp(-truth))).astype(np.float64)


def test_the_curve_is_that_of_the_paper_and_of_ones_the_identity() -> None:
    z = np.linspace(-8, 8, 33)
    curve = np.array([0.4, 1.3, -0.2])
    np.testing.assert_allclose(apply_curve(curve, z), formula(curve, z), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(apply_curve(np.array([1.0, 1.0, 0.0]), z), z)


def test_an_overconfident_model_is_put_back_on_the_truth() -> None:
    truth, label = rows(0, 200_000)
    curve = beta_curve(2.5 * truth + 1, label)
    np.testing.assert_allclose(curve, [1 / 2.5, 1 / 2.5, -1 / 2.5], atol=0.02)


def test_too_sure_at_one_end_alone_is_mended_there() -> None:
    truth, label = rows(3, 200_000)
    off = np.where(truth < 0, 2 * truth, truth)
    mended = apply_curve(beta_curve(off, label), off)
    for own in (truth < -2, truth > 1):
        promised, happened = (1 / (1 + np.exp(-mended[own]))).mean(), label[own].mean()
        assert promised == pytest.approx(happened, rel=0.06)


@settings(deadline=None, max_examples=20)
@given(st.floats(-3, 3), st.floats(0.2, 4), st.integers(0, 2**16))
def test_no_curve_nearby_is_better(bias: float, sharpness: float, seed: int) -> None:
    truth, label = rows(seed, 300)
    logit, weight = sharpness * truth + bias, np.random.default_rng(seed).random(300) + 0.5

    def cost(curve: np.ndarray) -> float:
        z = formula(curve, logit)
        return weight @ (np.logaddexp(0, z) - label * z) + ((curve - [1, 1, 0]) ** 2).sum() / 2

    curve = beta_curve(logit, label, weight)
    assert (curve[:2] >= 0.05).all()
    for turn in 1e-3 * np.concatenate([np.eye(3), -np.eye(3)]):
        if (curve + turn)[:2].min() >= 0.05:
            assert cost(curve) <= cost(curve + turn) + 1e-9


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(2, 40))
def test_the_order_of_the_rows_stays(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    logit, label = np.sort(rng.normal(0, 5, count)), rng.integers(0, 2, count)
    assert (np.diff(apply_curve(beta_curve(logit, label), logit)) > 0).all()


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.array([0.0, 0, 0, 1, 1])])
def test_a_few_rows_of_one_class_or_in_perfect_order_leave_a_finite_curve(label: np.ndarray) -> None:
    curve = beta_curve(np.linspace(-40, 40, 5), label)
    assert np.isfinite(curve).all() and (curve[:2] > 0).all()


@pytest.mark.parametrize("logit", [[3.0, 2.0, -2.0, -3.0], [1.0, np.nan, 0.0, 2.0], [np.inf, 0.0, 1.0, 2.0]])
def test_log_odds_that_tell_nothing_stay_as_they_are(logit: list[float]) -> None:
    curve = beta_curve(np.repeat(logit, 50), np.repeat([0.0, 0.0, 1.0, 1.0], 50))
    np.testing.assert_array_equal(curve, [1, 1, 0])


def test_rows_count_by_their_weight() -> None:
    logit, label = rows(1, 500)
    weight = np.random.default_rng(1).integers(0, 3, 500)
    each = np.repeat(np.arange(500), weight)
    np.testing.assert_allclose(
        beta_curve(logit, label, weight), beta_curve(logit[each], label[each]), rtol=1e-6
    )


def test_every_output_has_a_curve_of_its_own_in_float32() -> None:
    layer, (truth, label) = BetaCalibration(dtype="mixed_bfloat16"), rows(2)
    logit = np.stack([2 * truth, truth - 1], axis=1).astype(np.float32)
    np.testing.assert_array_equal(layer(logit), logit)
    assert not layer.trainable_variables
    layer.fit(logit, label)
    expected = np.stack([formula(beta_curve(z, label), z) for z in logit.T.astype(np.float64)], axis=1)
    np.testing.assert_allclose(layer(logit), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep", [1.0, 0.25])
def test_a_calibrated_cetnet_promises_the_clicks_of_the_rows_and_keeps_its_order(
    keep: float,
    spec: DataSpec,
    batch: dict[str, Any],
    sizes: dict[str, int],
    tiny_members: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    model = CETNet(spec.model_copy(update={"negative_keep_rate": keep}), sizes, tiny_members)
    before = model(batch)
    label = np.array(before["ctr"] == before["ctr"].numpy().max(), np.float64)
    label, weight = np.tile(label, 2), np.repeat([200.0, 100.0], 3)
    label[3:] = 1 - label[3:]  # no row is certain, and the fused prediction is right more often than not
    model.calibrate([batch, batch], label, weight)
    after = model(batch)
    for name in ("ctr", "member_ctr"):
        old, new = (output[name].numpy().reshape(3, -1).astype(np.float64) for output in (before, after))
        curves = np.array(model.beta_calibration.get_weights())  # [3, 1 + M]
        curves = curves[:, :1] if name == "ctr" else curves[:, 1:]
        odds = np.log(old) - np.log1p(-old)
        expected = np.stack([formula(c, z) for c, z in zip(curves.T, odds.T, strict=True)], axis=1)
        np.testing.assert_allclose(new, 1 / (1 + np.exp(-expected)), rtol=1e-3)
        np.testing.assert_array_equal(np.argsort(new, axis=0), np.argsort(old, axis=0))
    assert calibration(label, np.tile(after["ctr"], 2), weight) == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(after["fusion_weight"], before["fusion_weight"])
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        tf.keras.models.load_model(tmp_path / "model.keras")(batch)["ctr"], after["ctr"]
    )
