"""The collaborative term against the definition of the divergence (arXiv 2411.13700, section 3.3) in float64."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cetnet_keras import symmetric_kl


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


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(4)))
def test_the_order_of_the_members_does_not_matter(order: list[int]) -> None:
    z = np.random.default_rng(0).normal(0, 2, (3, 4)).astype(np.float32)
    np.testing.assert_allclose(symmetric_kl(z[:, order]), symmetric_kl(z), rtol=1e-5)


def test_half_precision_logits_are_compared_in_float32() -> None:
    assert symmetric_kl(tf.constant([[300.0, -300.0]], tf.float16)).dtype == tf.float32
    np.testing.assert_allclose(symmetric_kl(tf.constant([[300.0, -300.0]], tf.float16)), [300.0])
