"""Platt scaling against a fine search by the formula, and within a CETNet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import CETNet, DataSpec, PlattScaling
from cetnet_keras.metrics import calibration
from cetnet_keras.platt_scaling import platt_line


def bce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z) - y * z


def rows(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, count)
    return truth, (rng.random(count) < 1 / (1 + np.exp(-truth))).astype(np.float64)


def test_an_overconfident_model_is_put_back_on_the_truth() -> None:
    truth, label = rows(0, 200_000)
    scale, shift = platt_line(2.5 * truth + 1, label)
    assert scale == pytest.approx(1 / 2.5, abs=0.01)
    assert shift == pytest.approx(-1 / 2.5, abs=0.02)
    assert calibration(label, 1 / (1 + np.exp(-(scale * (2.5 * truth + 1) + shift)))) == pytest.approx(
        1, abs=1e-3
    )


@settings(deadline=None, max_examples=20)
@given(st.floats(-3, 3), st.floats(0.2, 4), st.integers(0, 2**16))
def test_no_line_nearby_is_better(bias: float, sharpness: float, seed: int) -> None:
    truth, label = rows(seed, 300)
    logit, weight = sharpness * truth + bias, np.random.default_rng(seed).random(300) + 0.5

    def cost(scale: float, shift: float) -> float:
        return weight @ bce(scale * logit + shift, label) + ((scale - 1) ** 2 + shift**2) / 2

    scale, shift = platt_line(logit, label, weight)
    for turn in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert cost(scale, shift) <= cost(scale + turn[0], shift + turn[1])


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.array([0.0, 0, 0, 1, 1])])
def test_a_few_rows_of_one_class_or_in_perfect_order_leave_a_finite_line(label: np.ndarray) -> None:
    scale, shift = platt_line(np.linspace(-40, 40, 5), label)
    assert np.isfinite([scale, shift]).all() and scale > 0


@pytest.mark.parametrize("logit", [[3.0, 2.0, -2.0, -3.0], [1.0, np.nan, 0.0, 2.0], [np.inf, 0.0, 1.0, 2.0]])
def test_log_odds_that_tell_nothing_stay_as_they_are(logit: list[float]) -> None:
    logits = np.repeat(logit, 50)
    assert platt_line(logits, np.repeat([0.0, 0.0, 1.0, 1.0], 50)) == (1.0, 0.0)


def test_rows_count_by_their_weight() -> None:
    logit, label = rows(1, 500)
    weight = np.random.default_rng(1).integers(0, 3, 500)
    each = np.repeat(np.arange(500), weight)
    np.testing.assert_allclose(
        platt_line(logit, label, weight), platt_line(logit[each], label[each]), rtol=1e-6
    )


def test_every_output_has_a_line_of_its_own_in_float32() -> None:
    layer, (truth, label) = PlattScaling(dtype="mixed_bfloat16"), rows(2)
    logit = np.stack([2 * truth, truth - 1], axis=1).astype(np.float32)
    np.testing.assert_array_equal(layer(logit), logit)
    assert not layer.trainable_variables
    layer.fit(logit, label)
    expected = np.stack([a * z + b for z in logit.T for a, b in [platt_line(z, label)]], axis=1)
    np.testing.assert_allclose(layer(logit), expected, rtol=1e-5, atol=1e-6)


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
        lines = model.platt_scaling.get_weights()
        column = slice(0, 1) if name == "ctr" else slice(1, None)
        odds = np.log(old) - np.log1p(-old)
        expected = 1 / (1 + np.exp(-(odds * lines[0][column] + lines[1][column])))
        np.testing.assert_allclose(new, expected, rtol=1e-4)
        np.testing.assert_array_equal(np.argsort(new, axis=0), np.argsort(old, axis=0))
    assert calibration(label, np.tile(after["ctr"], 2), weight) == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(after["fusion_weight"], before["fusion_weight"])
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        tf.keras.models.load_model(tmp_path / "model.keras")(batch)["ctr"], after["ctr"]
    )
