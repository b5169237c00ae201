"""The weight of each member against the paper's formula (arXiv 2411.13700, section 3.4) in float64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cetnet_keras import ConfidenceWeight
from cetnet_keras.confidence import CONFIDENCES

LOGIT = np.array([[-3.0, 0.0, 0.5], [2.0, 2.0, -2.0], [0.1, -6.0, 9.0]])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_the_papers_weights_keep_their_bounds(members: int, seed: int) -> None:
    """exp(c) lies in [1/2, 1], hence w in [1 / (2M - 1), 2 / (M + 1)]."""
    logit = np.random.default_rng(seed).normal(0, 20, (50, members)).astype(np.float32)
    weight, _ = ConfidenceWeight()(logit)
    assert weight.numpy().min() >= 1 / (2 * members - 1) - 1e-6
    assert weight.numpy().max() <= 2 / (members + 1) + 1e-6


@pytest.mark.parametrize("members", [2, 3, 5])
def test_the_bounds_are_attained(members: int) -> None:
    """By one that knows nothing among sure ones, and by one that is sure among those that know nothing."""
    unsure, sure = np.full((1, members), 50.0), np.zeros((1, members))
    unsure[0, 0], sure[0, 0] = 0, 50
    weight, _ = ConfidenceWeight()(tf.constant(np.concatenate([unsure, sure]), tf.float32))
    np.testing.assert_allclose(weight[:, 0], [1 / (2 * members - 1), 2 / (members + 1)], rtol=1e-5)


def test_a_prior_is_added_and_a_temperature_divides(randomise: Callable[..., None]) -> None:
    layer = ConfidenceWeight(0.5, learned_temperature=True, learned_prior=True)
    logit = tf.constant(LOGIT, tf.float32)
    plain = ConfidenceWeight(0.5)(logit)
    np.testing.assert_allclose(layer(logit)[0], plain[0], rtol=1e-6)
    randomise(layer)
    log_temperature, prior = layer.get_weights()
    confidence = plain[1].numpy().astype(np.float64)
    np.testing.assert_allclose(
        layer(logit)[0], softmax(confidence / np.exp(log_temperature) + prior), rtol=1e-5
    )


def test_temperature_and_prior_learn_and_the_members_do_not() -> None:
    layer, logit = (
        ConfidenceWeight(0.5, learned_temperature=True, learned_prior=True),
        tf.constant(LOGIT, tf.float32),
    )
    with tf.GradientTape() as tape:
        tape.watch(logit)
        total = tf.reduce_sum(layer(logit)[0][:, 0])
    to_logit, *to_variables = tape.gradient(total, [logit, *layer.trainable_variables])
    assert to_logit is None
    p, h = 1 / (1 + np.exp(-LOGIT)), 1e-5
    confidence = p * np.log(p) + (1 - p) * np.log(1 - p)

    def first(log_temperature: float, prior: np.ndarray) -> float:
        return softmax(confidence / np.exp(log_temperature) + prior)[:, 0].sum()

    none, cold = np.zeros(3), np.log(0.5)
    by_temperature = (first(cold + h, none) - first(cold - h, none)) / (2 * h)
    by_prior = [(first(cold, h * step) - first(cold, -h * step)) / (2 * h) for step in np.eye(3)]
    assert [variable.name.split(":")[0].split("/")[-1] for variable in layer.trainable_variables] == [
        "log_temperature",
        "prior",
    ]
    np.testing.assert_allclose(to_variables[0], by_temperature, rtol=1e-3)
    np.testing.assert_allclose(to_variables[1], by_prior, rtol=1e-3)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_without_the_gradient_stop_the_weights_pull_at_the_members(confidence: str) -> None:
    logit, h = LOGIT.astype(np.float64), 1e-5
    rate = 2 / 100

    def first(z: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-z))
        negative_entropy = p * np.log(p) + (1 - p) * np.log(1 - p)
        of_rate = p * np.log(rate) + (1 - p) * np.log(1 - rate)
        return softmax(negative_entropy - (of_rate if confidence == "base_rate" else 0))[:, 0]

    slopes = np.stack(
        [(first(logit + h * step) - first(logit - h * step)) / (2 * h) for step in np.eye(3)], axis=1
    )
    single, layer = (
        tf.constant(logit, tf.float32),
        ConfidenceWeight(confidence=confidence, gradient_stop=False),
    )
    layer(single)
    layer.observe(tf.constant(1.5), tf.constant(99.0))  # beside half a click of one row before them
    with tf.GradientTape() as tape:
        tape.watch(single)
        total = tf.reduce_sum(layer(single)[0][:, 0])
    np.testing.assert_allclose(tape.gradient(total, single), slopes, rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)))
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_weights_and_their_gradients_are_finite_for_every_logit(
    confidence: str, dtype: tf.DType, z: np.ndarray
) -> None:
    logit = tf.cast(z, dtype)
    with tf.GradientTape() as tape:
        tape.watch(logit)
        weight, found = ConfidenceWeight(0.1, confidence=confidence, gradient_stop=False)(logit)
    assert weight.dtype == found.dtype == tf.float32
    assert np.isfinite(weight).all() and np.isfinite(found).all()
    assert np.isfinite(tf.cast(tape.gradient([weight[:, 0], found], logit), tf.float32)).all()


def test_confidence_by_the_base_rate_is_the_divergence_from_the_clicks_seen() -> None:
    layer, logit = ConfidenceWeight(confidence="base_rate"), tf.constant(LOGIT, tf.float32)
    layer(logit)
    for clicks, rows in [(1.0, 90.0), (1.5, 9.0)]:
        layer.observe(tf.constant(clicks), tf.constant(rows))
    rate, p = 3 / 100, 1 / (1 + np.exp(-LOGIT))  # half a click of one row before the first
    divergence = p * np.log(p / rate) + (1 - p) * np.log((1 - p) / (1 - rate))
    weight, confidence = layer(logit)
    np.testing.assert_allclose(confidence, divergence, rtol=1e-4)
    np.testing.assert_allclose(weight, softmax(divergence), rtol=1e-4)


def test_by_the_base_rate_what_says_the_rate_says_nothing_and_low_is_no_better_than_high() -> None:
    layer = ConfidenceWeight(confidence="base_rate")
    layer(tf.zeros([1, 2]))
    layer.observe(tf.constant(1.5), tf.constant(99.0))  # 2 in 100
    odds = np.log(0.02 / 0.98)
    _, confidence = layer(tf.constant([[odds, odds - 1], [odds, odds + 1]], tf.float32))
    np.testing.assert_allclose(confidence[:, 0], [0, 0], atol=1e-6)
    assert confidence[1, 1] > confidence[0, 1] > 0, "by entropy it is the other way round"
    by_entropy = ConfidenceWeight()(tf.constant([[odds - 1, odds + 1]], tf.float32))[1].numpy()[0]
    assert by_entropy[0] > by_entropy[1]


def test_calibrated_confidence_is_read_off_each_members_own_line(randomise: Callable[..., None]) -> None:
    layer, logit = ConfidenceWeight(calibrated=True), tf.constant(LOGIT, tf.float32)
    np.testing.assert_allclose(layer(logit)[1], ConfidenceWeight()(logit)[1], rtol=1e-6)
    randomise(layer)
    scale, shift = layer.get_weights()
    np.testing.assert_allclose(layer.calibrated_logit(logit), LOGIT * scale + shift, rtol=1e-5)
    moved = tf.constant(LOGIT * scale + shift, tf.float32)
    np.testing.assert_allclose(layer(logit)[0], ConfidenceWeight()(moved)[0], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_weight_and_confidence_follow_the_paper(temperature: float) -> None:
    p = 1 / (1 + np.exp(-LOGIT))
    negative_entropy = p * np.log(p) + (1 - p) * np.log(1 - p)
    e = np.exp(negative_entropy / temperature)
    weight, confidence = ConfidenceWeight(temperature)(tf.constant(LOGIT, tf.float32))
    np.testing.assert_allclose(confidence, negative_entropy, rtol=1e-5)
    np.testing.assert_allclose(weight, e / e.sum(axis=-1, keepdims=True), rtol=1e-5)


def test_a_pair_shares_the_weight_between_one_third_and_two_thirds() -> None:
    weight, _ = ConfidenceWeight()(tf.constant([[0.0, 50.0]]))
    np.testing.assert_allclose(weight, [[1 / 3, 2 / 3]], rtol=1e-5)


def test_no_gradient_flows_through_weight_or_confidence() -> None:
    logit = tf.constant(LOGIT, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logit)
        weight, confidence = ConfidenceWeight()(logit)
        total = tf.reduce_sum(weight[:, 0] + confidence[:, 1])
    assert tape.gradient(total, logit) is None


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_weights_sum_to_one_and_confidence_stays_in_its_range_for_every_logit(z: np.ndarray) -> None:
    weight, confidence = (np.asarray(output) for output in ConfidenceWeight(0.1)(z))
    assert np.isfinite(weight).all()
    np.testing.assert_allclose(weight.sum(axis=-1), 1, atol=1e-5)
    assert (confidence <= 0).all()
    assert (confidence >= -np.log(2) - 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (4, 3), elements=st.floats(-1e3, 1e3, width=32)))
def test_a_logit_and_its_opposite_are_equally_confident(z: np.ndarray) -> None:
    np.testing.assert_array_equal(ConfidenceWeight()(z)[1], ConfidenceWeight()(-z)[1])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"`temperature` must be above 0\. Received: temperature="):
        ConfidenceWeight(temperature)


def test_an_unknown_confidence_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"one of entropy, base_rate\. Received: confidence='trust'"):
        ConfidenceWeight(confidence="trust")


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5},
        {"learned_temperature": True, "learned_prior": True, "calibrated": True},
        {"confidence": "base_rate", "gradient_stop": False},
    ],
)
def test_contract(
    options: dict[str, Any], assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    layer = ConfidenceWeight(**options, name="weigh")
    assert_layer_contract(layer, [LOGIT.astype(np.float32)], tmp_path, float32_outputs=(0, 1))
