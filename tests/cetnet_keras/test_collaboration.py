"""The collaborative term against the definition of the divergence (arXiv 2411.13700, section 3.3) in float64."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cetnet_keras import symmetric_kl
from cetnet_keras.collaboration import COLLABORATIONS, collaborative_loss, kl_to_fused


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def reference(logit: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-logit.astype(np.float64)))
    pairs = itertools.combinations(range(logit.shape[1]), 2)
    return np.mean([(kl(p[:, i], p[:, j]) + kl(p[:, j], p[:, i])) / 2 for i, j in pairs], axis=0)


@pytest.mark.parametrize("members", [2, 3, 5])
def test_it_is_the_mean_over_pairs_of_half_the_divergence_both_ways(members: int) -> None:
    logit = np.random.default_rng(members).normal(0, 3, (8, members))
    np.testing.assert_allclose(
        symmetric_kl(tf.constant(logit, tf.float32)), reference(logit), rtol=1e-4, atol=1e-7
    )


def test_one_member_has_nobody_to_differ_from() -> None:
    np.testing.assert_array_equal(symmetric_kl(tf.constant([[3.0], [-1.0]])), [0, 0])


def test_both_members_of_a_pair_are_drawn_to_the_other() -> None:
    logit = tf.constant([[2.0, -1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logit)
        total = tf.reduce_sum(symmetric_kl(logit))
    high, low = tape.gradient(total, logit).numpy()[0]
    assert high > 0 > low


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_it_is_finite_never_negative_and_zero_at_agreement(z: np.ndarray) -> None:
    found = symmetric_kl(z).numpy()
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_array_equal(symmetric_kl(np.repeat(z[:, :1], 4, axis=1)), [0, 0, 0])


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, (3, 4), elements=st.floats(-80, 80, width=32)), st.sampled_from(COLLABORATIONS))
def test_clicks_and_none_are_alike_however_sure_the_members_are(z: np.ndarray, kind: str) -> None:
    """Near 1 float32 has no numbers where it has many near 0."""
    found, mirrored = (collaborative_loss(kind, logit, logit[:, 0]) for logit in (z, -z))
    exact = kind == "symmetric_kl"  # the others are differences of logarithms
    np.testing.assert_allclose(found, mirrored, rtol=1e-5 if exact else 1e-3, atol=1e-30 if exact else 1e-6)


@pytest.mark.parametrize("kind", ["symmetric_kl", "one_way"])
@pytest.mark.parametrize(
    ("first", "second"), [(17.0, 1e4), (-17.0, -1e4), (20.0, 30.0), (-20.0, -30.0), (15.0, 16.0)]
)
def test_sure_members_that_differ_are_drawn_together(kind: str, first: float, second: float) -> None:
    logit = np.array([[first, second]])
    p, q = np.exp(-np.abs(logit[0]))  # of what the one nearer to 0 or 1 leaves, at these logits
    tops = 1 / (1 + p), 1 / (1 + q)
    expected = abs(p * tops[0] - q * tops[1]) * abs(first - second) / 2
    found, fused = collaborative_loss(kind, tf.constant(logit, tf.float32), tf.zeros(1)), np.zeros(1)
    np.testing.assert_allclose(found, [expected], rtol=1e-3)
    assert np.abs(gradient(kind, logit, fused)[0]).max() > 1e-10


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(4)))
def test_the_order_of_the_members_does_not_matter(order: list[int]) -> None:
    z = np.random.default_rng(0).normal(0, 2, (3, 4)).astype(np.float32)
    np.testing.assert_allclose(symmetric_kl(z[:, order]), symmetric_kl(z), rtol=1e-5)


def to_fused(logit: np.ndarray, fused: np.ndarray) -> np.ndarray:
    p, q = 1 / (1 + np.exp(-fused[:, None])), 1 / (1 + np.exp(-logit))
    return kl(p, q).mean(axis=1)


def test_to_fused_is_the_mean_divergence_of_the_members_from_the_fused_prediction() -> None:
    rng = np.random.default_rng(0)
    logit, fused = rng.normal(0, 3, (8, 3)), rng.normal(0, 3, 8)
    found = kl_to_fused(tf.constant(logit, tf.float32), tf.constant(fused, tf.float32))
    np.testing.assert_allclose(found, to_fused(logit, fused), rtol=1e-4, atol=1e-7)


def gradient(kind: str, logit: np.ndarray, fused: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    inputs = tf.constant(logit, tf.float32), tf.constant(fused, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(collaborative_loss(kind, *inputs))
    return tape.gradient(total, inputs)


def test_one_way_has_the_value_of_both_ways_and_moves_each_member_as_if_its_peers_stood_still() -> None:
    logit, fused = np.random.default_rng(1).normal(0, 2, (5, 3)), np.zeros(5)
    one = collaborative_loss("one_way", tf.constant(logit, tf.float32), tf.constant(fused, tf.float32))
    np.testing.assert_allclose(one, reference(logit), rtol=1e-4)
    p = 1 / (1 + np.exp(-logit))
    expected = (3 * p - p.sum(axis=1, keepdims=True)) / 6  # d KL(p || q) / dz_q = q - p, over 6 ordered pairs
    np.testing.assert_allclose(gradient("one_way", logit, fused)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["symmetric_kl", "to_fused"])
def test_gradients_are_the_slopes_of_the_formula(kind: str) -> None:
    rng = np.random.default_rng(2)
    logit, fused, h = rng.normal(0, 2, (4, 3)), rng.normal(0, 2, 4), 1e-5
    formula = reference if kind == "symmetric_kl" else lambda z: to_fused(z, fused)
    slopes = np.zeros_like(logit)
    for m in range(3):
        step = h * np.eye(3)[m]
        slopes[:, m] = (formula(logit + step) - formula(logit - step)) / (2 * h)
    to_members, to_the_fused = gradient(kind, logit, fused)
    np.testing.assert_allclose(to_members, slopes, rtol=1e-3, atol=1e-5)
    assert to_the_fused is None, "the fused prediction stands still"


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)), st.sampled_from(COLLABORATIONS))
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_every_form_is_finite_never_negative_and_so_is_its_gradient(
    dtype: tf.DType, z: np.ndarray, kind: str
) -> None:
    logit = tf.cast(z, dtype)
    with tf.GradientTape() as tape:
        tape.watch(logit)
        found = collaborative_loss(kind, logit, tf.reduce_mean(logit, axis=1))
    assert found.dtype == tf.float32
    assert np.isfinite(found).all() and (found.numpy() >= 0).all()
    slope = tape.gradient(found, logit)
    assert np.isfinite(tf.cast(slope, tf.float32)).all()


@pytest.mark.parametrize("kind", COLLABORATIONS)
def test_agreement_costs_nothing(kind: str) -> None:
    z = np.random.default_rng(3).normal(0, 3, 6).astype(np.float32)
    agreed = collaborative_loss(kind, tf.tile(z[:, None], [1, 3]), tf.constant(z))
    np.testing.assert_allclose(agreed, np.zeros(6), atol=1e-6)
    apart = collaborative_loss(kind, tf.stack([z, z + 1], axis=1), tf.constant(z))
    assert (apart.numpy() > 1e-4).all()


def test_an_unknown_form_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"one of symmetric_kl, one_way, to_fused\. Received: type='vote'"):
        collaborative_loss("vote", tf.zeros([1, 2]), tf.zeros([1]))


def test_half_precision_logits_are_compared_in_float32() -> None:
    assert symmetric_kl(tf.constant([[300.0, -300.0]], tf.float16)).dtype == tf.float32
    np.testing.assert_allclose(symmetric_kl(tf.constant([[300.0, -300.0]], tf.float16)), [300.0])
