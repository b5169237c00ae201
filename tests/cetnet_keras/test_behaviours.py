"""What members make of sequences: behaviours by `align` and candidate, tokens side by side, means over tokens."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cetnet_keras import DataSpec
from cetnet_keras.behaviours import (
    Behaviour,
    behaviours,
    candidate_embedding,
    flat_fields,
    length_groups,
    tokens_of,
)
from cetnet_keras.embeddings import EmbeddedFeatures, mean_of_tokens

ITEM = {"type": "categorical", "role": "candidate"}


@pytest.fixture
def aligned(make_spec: Callable[..., DataSpec]) -> DataSpec:
    return make_spec(
        {
            "cate": ITEM,
            "item": ITEM,
            "words": {"type": "sequence"},
            "item_history": {"type": "sequence", "vocabulary": "item", "align": "clicks"},
            "cate_history": {"type": "sequence", "vocabulary": "cate", "align": "clicks"},
            "bought": {"type": "sequence", "vocabulary": "item"},
        }
    )


def test_aligned_sequences_are_one_behaviour_and_each_other_one_is_its_own(aligned: DataSpec) -> None:
    assert behaviours(aligned) == (
        Behaviour(("words",), ()),
        Behaviour(("item_history", "cate_history"), ("item", "cate")),
        Behaviour(("bought",), ("item",)),
    )


def test_a_column_that_has_no_candidate_is_asked_with_zeros(make_spec: Callable[..., DataSpec]) -> None:
    spec = make_spec(
        {
            "stars": {"type": "sequence", "align": "clicks"},
            "items": {"type": "sequence", "vocabulary": "item", "align": "clicks"},
            "item": ITEM,
            "words": {"type": "sequence", "align": "read"},
            "times": {"type": "sequence", "align": "read"},
        }
    )
    rated, read = behaviours(spec)
    assert rated == Behaviour(("stars", "items"), (None, "item"))
    assert read == Behaviour(("words", "times"), ())
    fields = tf.constant([[[1.0, 2.0]], [[3.0, 4.0]]])
    features = EmbeddedFeatures(fields=fields, dense=tf.zeros([2, 0]), sequences={}, masks={}, pooled={})
    np.testing.assert_array_equal(candidate_embedding(features, spec, rated), [[0, 0, 1, 2], [0, 0, 3, 4]])


def test_columns_of_one_behaviour_stand_side_by_side_the_shorter_padded_at_its_end(aligned: DataSpec) -> None:
    long, short = (
        np.random.default_rng(0).normal(size=(2, 3, 2)),
        np.random.default_rng(1).normal(size=(2, 1, 2)),
    )
    features = EmbeddedFeatures(
        fields=tf.constant(np.arange(8.0).reshape(2, 2, 2)),
        dense=tf.zeros([2, 0]),
        sequences={"item_history": tf.constant(long), "cate_history": tf.constant(short)},
        masks={
            "item_history": tf.constant([[1.0, 1, 0], [0, 0, 0]]),
            "cate_history": tf.constant([[1.0], [1.0]]),
        },
        pooled={},
    )
    behaviour = behaviours(aligned)[1]
    tokens, mask = tokens_of(features, behaviour)
    np.testing.assert_array_equal(
        tokens, np.concatenate([long, np.pad(short, [(0, 0), (0, 2), (0, 0)])], axis=-1)
    )
    np.testing.assert_array_equal(mask, [[1, 1, 0], [1, 0, 0]])
    query = candidate_embedding(features, aligned, behaviour)  # item, then cate, as their sequences stand
    np.testing.assert_array_equal(query, [[2, 3, 0, 1], [6, 7, 4, 5]])


def test_the_mean_counts_tokens_alone_and_is_zero_without_any() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    found = mean_of_tokens(tf.constant(tokens), tf.constant([[1.0, 0, 1], [0, 0, 0]]))
    np.testing.assert_allclose(found, [(tokens[0, 0] + tokens[0, 2]) / 2, np.zeros(4)], rtol=1e-6)
    np.testing.assert_array_equal(mean_of_tokens(tf.zeros([2, 0, 4]), tf.zeros([2, 0])), np.zeros((2, 4)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mean_of_tokens_of_a_long_sequence_in_half_precision(dtype: str) -> None:
    tokens = tf.fill([1, 3000, 2], tf.constant(30, dtype))
    found = tf.cast(mean_of_tokens(tokens, tf.ones([1, 3000], dtype)), tf.float32)
    np.testing.assert_allclose(found, 30, rtol=0.01)


def test_no_fields_side_by_side_are_no_columns() -> None:
    features = EmbeddedFeatures(tf.zeros([3, 0, 4]), tf.zeros([3, 1]), {}, {}, {})
    assert flat_fields(features).shape == (3, 0)


@given(st.lists(st.integers(0, 45), min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_groups_hold_every_real_token_once_and_come_back_in_order(
    lengths: list[int], more: int, seed: int
) -> None:
    rng, steps = np.random.default_rng(seed), max(lengths) + more
    mask = (np.arange(steps) < np.array(lengths)[:, np.newaxis]) * (rng.random((len(lengths), steps)) < 0.8)
    mask, tokens = mask.astype(np.float32), rng.normal(size=(len(lengths), steps, 2)).astype(np.float32)
    groups = length_groups(tf.constant(tokens), tf.constant(mask))
    rows = [group.rows for group in groups]
    assert sorted(np.concatenate(rows)) == list(range(len(lengths)))
    for group in groups:
        kept = group.tokens.shape[1]
        np.testing.assert_array_equal(group.tokens, tokens[group.rows, :kept])
        np.testing.assert_array_equal(group.mask, mask[group.rows, :kept])
        assert not mask[group.rows, kept:].any()
    found = [tf.reduce_sum(group.tokens * group.mask[:, :, tf.newaxis], axis=1) for group in groups]
    expected = (tokens * mask[:, :, np.newaxis]).sum(axis=1)
    np.testing.assert_allclose(tf.dynamic_stitch(rows, found), expected, rtol=1e-5, atol=1e-5)


def test_a_long_sequence_does_not_make_the_short_ones_long() -> None:
    mask = (np.arange(60) < np.array([3, 60, 0])[:, np.newaxis]).astype(np.float32)
    shapes = [group.tokens.shape for group in length_groups(tf.zeros([3, 60, 2]), tf.constant(mask))]
    assert shapes == [(2, 3, 2), (1, 60, 2)]
