"""Calibration curves against their formulas, and within a CETNet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import Calibration, CETNet, DataSpec
from cetnet_keras.calibration import calibration_curve, on_curve
from cetnet_keras.metrics import auc, calibration, log_loss


def formula(curve: np.ndarray, z: np.ndarray, s: np.ndarray | float = 0.0) -> np.ndarray:
    a, b, c, d, e = [*curve, 0, 0][:5]
    p = 1 / (1 + np.exp(-z))
    return a * np.log(p) - b * np.log(1 - p) + c + (d + e * z) * s


def rows(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, count)
    return truth, (rng.random(count) < 1 / (1 + np.exp(-truth))).astype(np.float64)


def test_the_curve_is_that_of_the_formula_and_of_ones_the_identity() -> None:
    z, s = np.linspace(-8, 8, 33), np.linspace(0, 3, 33)
    curve = np.array([0.4, 1.3, -0.2, 0.5, -0.1])
    np.testing.assert_allclose(on_curve(curve[:3], z), formula(curve[:3], z), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(on_curve(curve, z, s), formula(curve, z, s), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(on_curve(np.array([1.0, 1, 0, 0, 0]), z, s), z, rtol=1e-12, atol=1e-12)


def test_an_overconfident_model_is_put_back_on_the_truth() -> None:
    truth, label = rows(0, 200_000)
    curve = calibration_curve(2.5 * truth + 1, label)
    np.testing.assert_allclose(curve, [1 / 2.5, 1 / 2.5, -1 / 2.5], atol=0.02)


def test_too_sure_at_one_end_alone_is_mended_there() -> None:
    truth, label = rows(3, 200_000)
    off = np.where(truth < 0, 2 * truth, truth)
    mended = on_curve(calibration_curve(off, label), off)
    for own in (truth < -2, truth > 1):
        promised, happened = (1 / (1 + np.exp(-mended[own]))).mean(), label[own].mean()
        assert promised == pytest.approx(happened, rel=0.06)


def test_rows_that_members_disagree_on_are_drawn_to_their_rate() -> None:
    """Two members see the truth through noise of their own, of which some rows have much: the mean is too sure there."""
    rng, (truth, label) = np.random.default_rng(4), rows(4, 200_000)
    noise = np.where(rng.random(len(truth)) < 0.5, 0.2, 3.0)
    members = truth[:, np.newaxis] + noise[:, np.newaxis] * rng.normal(size=(len(truth), 2))
    mean, spread = members.mean(axis=1), members.std(axis=1)
    alone, together = calibration_curve(mean, label), calibration_curve(mean, label, spread=spread)
    assert together[4] < -0.05, "the mean counts less where they disagree"
    scores = on_curve(alone, mean), on_curve(together, mean, spread)
    assert auc(label, scores[1]) > auc(label, scores[0]) + 0.005
    losses = [log_loss(label, 1 / (1 + np.exp(-z))) for z in scores]
    assert losses[1] < losses[0] - 0.003


@settings(deadline=None, max_examples=20)
@given(st.floats(-3, 3), st.floats(0.2, 4), st.integers(0, 2**16), st.booleans())
def test_no_curve_nearby_is_better(bias: float, sharpness: float, seed: int, disagree: bool) -> None:
    truth, label = rows(seed, 300)
    rng = np.random.default_rng(seed)
    logit, weight, spread = sharpness * truth + bias, rng.random(300) + 0.5, rng.random(300)
    identity = np.array([1.0, 1, 0, 0, 0][: 5 if disagree else 3])

    curve = calibration_curve(logit, label, weight, spread if disagree else None)
    room, e = curve[:2].min() - 0.05, curve[4] if disagree else 0.0
    counted = spread if -e * spread.max() <= room else np.minimum(spread, room / -e)

    def cost(curve: np.ndarray) -> float:
        z = formula(curve, logit, counted)
        return weight @ (np.logaddexp(0, z) - label * z) + ((curve - identity) ** 2).sum() / 2

    assert (curve[:2] >= 0.05).all()
    for turn in 1e-3 * np.concatenate([np.eye(len(identity)), -np.eye(len(identity))]):
        if counted is not spread and not turn[2:4].any():
            continue  # what of the spread counts hangs on these
        if (curve + turn)[:2].min() >= 0.05:
            assert cost(curve) <= cost(curve + turn) + 1e-9


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(2, 40))
def test_the_order_of_the_rows_stays(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    logit, label = np.sort(rng.normal(0, 5, count)), rng.integers(0, 2, count)
    assert (np.diff(on_curve(calibration_curve(logit, label), logit)) > 0).all()


def test_where_less_of_the_disagreement_counts_the_clicks_promised_stay_right() -> None:
    rng, (truth, label) = np.random.default_rng(6), rows(6, 20_000)
    spread = np.where(rng.random(len(truth)) < 0.5, 0.1, 4.0)
    logit = truth * np.where(
        spread > 1, -0.5, 1.0
    )  # where they disagree the mean says the opposite of what is so
    curve = calibration_curve(logit, label, spread=spread)
    assert -curve[4] * 4 > curve[:2].min() - 0.05
    served = on_curve(curve, logit, spread)
    assert (1 / (1 + np.exp(-served))).mean() == pytest.approx(label.mean(), rel=1e-3)
    for some in (spread > 1, spread < 1):
        assert (np.diff(served[some][np.argsort(logit[some])]) >= 0).all()


SLOPE, PULL = st.floats(0.0625, 3, width=32), st.floats(-2, 2, width=32, allow_subnormal=False)


@given(st.tuples(SLOPE, SLOPE, PULL, PULL, PULL), st.floats(0, 20))
def test_a_higher_log_odds_is_served_higher_however_much_members_disagree(
    curve: tuple[float, ...], spread: float
) -> None:
    z = np.linspace(-12, 12, 49)
    found = on_curve(np.array(curve), z, np.full(49, spread))
    assert np.diff(found).min() > 0.99 * 0.05 * 0.5, "the slope is 0.05 or more"
    layer = Calibration()
    layer.build([None, 3])
    for variable, first in zip((layer.a, layer.b, layer.c), curve, strict=False):
        variable.assign([first, 1, 1])  # the members' are not looked at
    layer.disagreement.assign(curve[3:])
    logit = np.stack([z, np.full(49, spread), np.full(49, -spread)], axis=1)
    np.testing.assert_allclose(layer(logit)[:, 0], found, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.array([0.0, 0, 0, 1, 1])])
def test_a_few_rows_of_one_class_or_in_perfect_order_leave_a_finite_curve(label: np.ndarray) -> None:
    curve = calibration_curve(np.linspace(-40, 40, 5), label)
    assert np.isfinite(curve).all() and (curve[:2] > 0).all()


@pytest.mark.parametrize("logit", [[3.0, 2.0, -2.0, -3.0], [1.0, np.nan, 0.0, 2.0], [np.inf, 0.0, 1.0, 2.0]])
def test_log_odds_that_tell_nothing_stay_as_they_are(logit: list[float]) -> None:
    curve = calibration_curve(np.repeat(logit, 50), np.repeat([0.0, 0.0, 1.0, 1.0], 50))
    np.testing.assert_array_equal(curve, [1, 1, 0])


@pytest.mark.parametrize("spread", [None, np.tile([0.5, 1.0, 0.25, 2.0], 500)])
def test_log_odds_that_tell_nothing_keep_their_order_and_promise_the_clicks_that_are_there(
    spread: np.ndarray | None,
) -> None:
    logit = np.repeat([2.0, 1.0, -1.0, -2.0], 500)
    label = np.concatenate([np.arange(500) < clicks for clicks in (10, 20, 30, 40)])  # the wrong way round
    curve = calibration_curve(logit, label, spread=spread)
    assert curve[:2].tolist() == [1, 1] and not curve[3:].any()
    assert tf.sigmoid(on_curve(curve, logit, spread)).numpy().sum() == pytest.approx(100, rel=0.05)


def test_rows_count_by_their_weight() -> None:
    logit, label = rows(1, 500)
    weight = np.random.default_rng(1).integers(0, 3, 500)
    each = np.repeat(np.arange(500), weight)
    np.testing.assert_allclose(
        calibration_curve(logit, label, weight), calibration_curve(logit[each], label[each]), rtol=1e-6
    )


def test_the_layer_computes_the_curves_in_float32() -> None:
    layer, (truth, label) = Calibration(dtype="mixed_bfloat16"), rows(2)
    noise = np.random.default_rng(2).normal(size=len(truth))
    logit = np.stack([2 * truth, truth - 1, 3 * truth + noise], axis=1).astype(np.float32)
    np.testing.assert_array_equal(layer(logit), logit)
    assert not layer.trainable_variables
    layer.fit(logit, label)
    z = logit.astype(np.float64)
    s = z[:, 1:].std(axis=1)
    expected = [formula(calibration_curve(column, label), column) for column in z.T[1:]]
    expected = [formula(calibration_curve(z[:, 0], label, spread=s), z[:, 0], s), *expected]
    np.testing.assert_allclose(layer(logit), np.stack(expected, axis=1), rtol=1e-4, atol=1e-4)


def test_one_member_does_not_disagree() -> None:
    layer, (truth, label) = Calibration(), rows(5)
    logit = np.stack([2 * truth, 2 * truth], axis=1).astype(np.float32)
    layer(logit)
    layer.fit(logit, label)
    np.testing.assert_array_equal(layer.disagreement, [0, 0])
    np.testing.assert_array_equal(*np.split(layer(logit).numpy(), 2, axis=1))


def test_contract(assert_layer_contract: Any, tmp_path: Path) -> None:
    logit = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    layer = Calibration(name="calibration")
    layer(logit)
    layer.fit(np.repeat(logit, 30, axis=0), np.random.default_rng(1).integers(0, 2, 120))
    assert_layer_contract(layer, [logit], tmp_path, float32_outputs=(0,))


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
    weight = np.where(label == 1, weight, weight / keep)
    after = model(batch)
    a, b, c, disagreement = model.calibration.get_weights()
    names = ("ctr", "member_ctr")
    old, new = (
        np.concatenate([output[name].numpy().reshape(3, -1).astype(np.float64) for name in names], axis=1)
        for output in (before, after)
    )
    odds = np.log(old) - np.log1p(-old)
    expected = np.stack(
        [formula(curve, z) for curve, z in zip(np.stack([a, b, c], 1), odds.T, strict=True)], axis=1
    )
    (d, e), s = disagreement, odds[:, 1:].std(axis=1)
    most = (min(a[0], b[0]) - 0.05) / -e if e < 0 else np.inf
    expected[:, 0] += (d + e * odds[:, 0]) * np.minimum(s, most)
    np.testing.assert_allclose(new, 1 / (1 + np.exp(-expected)), rtol=1e-3)
    np.testing.assert_array_equal(np.argsort(new[:, 1:], axis=0), np.argsort(old[:, 1:], axis=0))
    assert calibration(label, np.tile(after["ctr"], 2), weight) == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(after["fusion_weight"], before["fusion_weight"])
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        tf.keras.models.load_model(tmp_path / "model.keras")(batch)["ctr"], after["ctr"]
    )
