"""The weight of each member against the paper's formula (arXiv 2411.13700, section 3.4) in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cetnet_keras import ConfidenceWeight

LOGIT = np.array([[-3.0, 0.0, 0.5], [2.0, 2.0, -2.0], [0.1, -6.0, 9.0]])


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


def test_contract(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    logit = LOGIT.astype(np.float32)
    assert_layer_contract(ConfidenceWeight(0.5, name="weigh"), [logit], tmp_path, float32_outputs=(0, 1))
