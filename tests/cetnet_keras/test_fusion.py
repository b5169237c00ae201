"""Each fusion against its formula in float64: `paper` as in arXiv 2411.13700, section 3.4, the others as documented."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cetnet_keras import ConfidenceWeight, Fusion
from cetnet_keras.fusion import FUSIONS

RNG = np.random.default_rng(0)
EMBEDDINGS = [RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))]  # widths may differ
LOGIT = RNG.normal(0, 2, (4, 2))
WEIGHT = np.array([[0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [1.0, 0.0]])


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def fused(fusion: Fusion, logit: np.ndarray = LOGIT, weight: np.ndarray = WEIGHT) -> np.ndarray:
    embeddings = [tf.constant(e, tf.float32) for e in EMBEDDINGS]
    return fusion(embeddings, tf.constant(logit, tf.float32), tf.constant(weight, tf.float32))[0].numpy()


def test_paper_reads_the_weighted_output_embeddings_by_one_linear_map(randomise: Callable[..., None]) -> None:
    fusion = Fusion("paper")
    fused(fusion)
    randomise(fusion)
    kernel, bias = fusion.get_weights()
    assert kernel.shape == (5, 1)
    e = np.concatenate([WEIGHT[:, :1] * EMBEDDINGS[0], WEIGHT[:, 1:] * EMBEDDINGS[1]], axis=1)
    np.testing.assert_allclose(fused(fusion), (e @ kernel.astype(np.float64) + bias)[:, 0], rtol=1e-5)


def test_mixture_is_the_weighted_mean_of_probabilities() -> None:
    np.testing.assert_allclose(
        sigmoid(fused(Fusion("mixture"))), (WEIGHT * sigmoid(LOGIT)).sum(axis=1), rtol=1e-5
    )


def test_mean_is_the_plain_mean_of_probabilities() -> None:
    np.testing.assert_allclose(sigmoid(fused(Fusion("mean"))), sigmoid(LOGIT).mean(axis=1), rtol=1e-5)


def test_logit_mean_is_the_plain_mean_of_log_odds() -> None:
    np.testing.assert_allclose(fused(Fusion("logit_mean")), LOGIT.mean(axis=1), rtol=1e-5)


def test_sum_reads_the_weighted_sum_by_one_linear_map(randomise: Callable[..., None]) -> None:
    of_one_width = [RNG.normal(size=(4, 3)) for _ in range(2)]
    inputs = (
        [tf.constant(e, tf.float32) for e in of_one_width],
        tf.zeros([4, 2]),
        tf.constant(WEIGHT, tf.float32),
    )
    fusion = Fusion("sum")
    fusion(*inputs)
    randomise(fusion)
    kernel, bias = fusion.get_weights()
    assert kernel.shape == (3, 1)
    e = WEIGHT[:, :1] * of_one_width[0] + WEIGHT[:, 1:] * of_one_width[1]
    np.testing.assert_allclose(fusion(*inputs)[0], (e @ kernel.astype(np.float64) + bias)[:, 0], rtol=1e-5)


def test_sum_refuses_output_embeddings_of_several_widths() -> None:
    with pytest.raises(
        ValueError, match=r"of one width\. Received: \[3, 2\]; give the members' last `hidden` one"
    ):
        fused(Fusion("sum"))


def test_logit_mixture_is_the_weighted_mean_of_log_odds() -> None:
    np.testing.assert_allclose(fused(Fusion("logit_mixture")), (WEIGHT * LOGIT).sum(axis=1), rtol=1e-5)


def test_gate_is_a_mixture_by_weights_that_it_learns(randomise: Callable[..., None]) -> None:
    fusion = Fusion("gate")
    fused(fusion)
    randomise(fusion)
    kernel, bias = fusion.get_weights()
    scores = np.concatenate(EMBEDDINGS, axis=1) @ kernel.astype(np.float64) + bias
    weight = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    embeddings = [tf.constant(e, tf.float32) for e in EMBEDDINGS]
    logit, found = fusion(embeddings, tf.constant(LOGIT, tf.float32), tf.constant(WEIGHT, tf.float32))
    np.testing.assert_allclose(found, weight, rtol=1e-5)
    np.testing.assert_allclose(sigmoid(logit.numpy()), (weight * sigmoid(LOGIT)).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("kind", "equal"), [("mean", True), ("logit_mean", True), ("mixture", False)])
def test_it_tells_the_weights_that_it_fused_by(kind: str, equal: bool) -> None:
    embeddings = [tf.constant(e, tf.float32) for e in EMBEDDINGS]
    _, weight = Fusion(kind)(embeddings, tf.constant(LOGIT, tf.float32), tf.constant(WEIGHT, tf.float32))
    np.testing.assert_allclose(weight, np.full((4, 2), 0.5) if equal else WEIGHT, rtol=1e-6)


SLOPES = {
    "mixture": lambda z: np.log((WEIGHT * sigmoid(z)).sum(1) / (WEIGHT * sigmoid(-z)).sum(1)),
    "mean": lambda z: np.log(sigmoid(z).sum(1) / sigmoid(-z).sum(1)),
    "logit_mixture": lambda z: (WEIGHT * z).sum(1),
    "logit_mean": lambda z: z.mean(1),
}


@pytest.mark.parametrize("kind", SLOPES)
def test_gradients_are_the_slopes_of_the_formula(kind: str) -> None:
    h, logit = 1e-5, tf.constant(LOGIT, tf.float32)
    expected = [(SLOPES[kind](LOGIT + h * m) - SLOPES[kind](LOGIT - h * m)) / (2 * h) for m in np.eye(2)]
    with tf.GradientTape() as tape:
        tape.watch(logit)
        embeddings = [tf.constant(e, tf.float32) for e in EMBEDDINGS]
        total = tf.reduce_sum(Fusion(kind)(embeddings, logit, tf.constant(WEIGHT, tf.float32))[0])
    np.testing.assert_allclose(tape.gradient(total, logit), np.stack(expected, axis=1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["paper", "sum", "gate"])
def test_gradients_of_output_embeddings_are_the_slopes_of_the_formula(
    kind: str, randomise: Callable[..., None]
) -> None:
    fusion, x, h = Fusion(kind), RNG.normal(size=(2, 4, 3)), 1e-5
    inputs = tf.constant(x, tf.float32), tf.constant(LOGIT, tf.float32), tf.constant(WEIGHT, tf.float32)
    fusion(tf.unstack(inputs[0]), *inputs[1:])
    randomise(fusion)
    kernel, bias = (value.astype(np.float64) for value in fusion.get_weights())

    def formula(e: np.ndarray) -> np.ndarray:
        if kind == "gate":
            score = np.exp(np.concatenate(list(e), axis=1) @ kernel + bias)
            weight = score / score.sum(axis=1, keepdims=True)
            return np.log((weight * sigmoid(LOGIT)).sum(axis=1) / (weight * sigmoid(-LOGIT)).sum(axis=1))
        weighted = WEIGHT.T[:, :, np.newaxis] * e
        together = weighted.sum(axis=0) if kind == "sum" else np.concatenate(list(weighted), axis=1)
        return (together @ kernel + bias)[:, 0]

    slopes = np.zeros_like(x)
    for member, column in np.ndindex(2, 3):
        step = np.zeros_like(x)
        step[member, :, column] = h
        slopes[member, :, column] = (formula(x + step) - formula(x - step)) / (2 * h)
    with tf.GradientTape() as tape:
        tape.watch(inputs[0])
        total = tf.reduce_sum(fusion(tf.unstack(inputs[0]), *inputs[1:])[0])
    np.testing.assert_allclose(tape.gradient(total, inputs[0]), slopes, rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)), st.sampled_from(FUSIONS))
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_every_fusion_and_its_gradient_are_finite_for_every_logit(
    dtype: tf.DType, z: np.ndarray, kind: str
) -> None:
    logit, fusion = tf.cast(z, dtype), Fusion(kind)
    weigh = ConfidenceWeight(gradient_stop=False)
    with tf.GradientTape() as tape:
        tape.watch(logit)
        weight, confidence = weigh(logit)
        embeddings = [logit[:, m : m + 1] for m in range(4)]
        found, shares = fusion(embeddings, logit, weight, weigh.log_weight(confidence))
    assert found.dtype == shares.dtype == tf.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), np.ones(3), rtol=1e-5)
    assert np.isfinite(tf.cast(tape.gradient(found, logit), tf.float32)).all()


@pytest.mark.parametrize("learned", ["temperature", "prior", "member", "gate"])
def test_a_weight_too_small_for_float32_leaves_the_gradients_finite(learned: str) -> None:
    logit, embedding = tf.Variable([[-8.0, 0.1]]), [tf.constant([[200.0]]), tf.constant([[-200.0]])]
    fusion = Fusion("gate" if learned == "gate" else "mixture")
    weigh = ConfidenceWeight(
        0.005,
        learned_temperature=learned == "temperature",
        learned_prior=learned == "prior",
        gradient_stop=learned != "member",
    )
    fusion(embedding, logit, weigh(logit)[0])
    if learned == "gate":
        fusion.set_weights([np.eye(2), np.zeros(2)])
    with tf.GradientTape() as tape:
        weight, confidence = weigh(logit)
        fused, weight = fusion(embedding, logit, weight, weigh.log_weight(confidence))
        loss = tf.nn.sigmoid_cross_entropy_with_logits([1.0], fused)
    np.testing.assert_array_equal(weight, [[1, 0]])
    np.testing.assert_allclose(fused, [-8], rtol=1e-5)
    variables = [logit, *weigh.trainable_variables, *fusion.trainable_variables]
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(gradients[0], [[-sigmoid(8), 0]], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["mixture", "mean", "logit_mixture", "logit_mean"])
def test_one_member_is_fused_into_itself(kind: str) -> None:
    fusion, z = Fusion(kind), np.array([[-40.0], [0.3], [90.0]])
    found = fusion([tf.zeros([3, 1])], tf.constant(z, tf.float32), tf.ones([3, 1]))[0].numpy()
    np.testing.assert_allclose(found, z[:, 0], rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (4, 2), elements=st.floats(-1e4, 1e4, width=32)))
def test_a_mixture_lies_between_its_members_for_every_logit(z: np.ndarray) -> None:
    found = fused(Fusion("mixture"), z)
    slack = 1e-5 * np.abs(z).max(axis=1) + 1e-5
    assert (found >= z.min(axis=1) - slack).all()
    assert (found <= z.max(axis=1) + slack).all()


@pytest.mark.parametrize("kind", FUSIONS)
def test_contract(kind: str, assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    embeddings = [e[:, :2] if kind == "sum" else e for e in EMBEDDINGS]
    inputs = [[e.astype(np.float32) for e in embeddings], LOGIT.astype(np.float32), WEIGHT.astype(np.float32)]
    assert_layer_contract(Fusion(kind, name="fuse"), inputs, tmp_path, float32_outputs=(0, 1))


def test_an_unknown_fusion_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"one of paper, sum, mixture, mean, logit_mixture, logit_mean, gate\. Received: type='vote'",
    ):
        Fusion("vote")
