"""Replacement of known ids by out-of-vocabulary ones: which ids, how many, reproducibly."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import DataSpec, replace_by_oov

SIZES = {"item": 12, "page": 6, "hour": 4}
SEED = tf.constant([42, 7], tf.int64)


@pytest.fixture(scope="module")
def oov_spec(make_spec: Callable[..., DataSpec]) -> DataSpec:
    return make_spec(
        {
            "item": {"type": "categorical", "vocabulary": {"oov_buckets": 2, "oov_rate": 0.2}},
            "history": {"type": "sequence", "vocabulary": "item"},
            "page": {"type": "categorical", "hash_buckets": 6},
            "hour": {"type": "categorical", "identity": 3},
            "age": {"type": "numeric"},
        }
    )


@pytest.fixture(scope="module")
def ids() -> dict[str, np.ndarray]:
    rng, rows = np.random.default_rng(0), 20_000
    return {
        "item": rng.integers(1, 11, rows),
        "history": rng.integers(0, 11, (rows, 3)),
        "page": rng.integers(0, 7, rows),
        "hour": rng.integers(0, 4, rows),
        "age": rng.normal(size=rows).astype(np.float32),
        "label": rng.integers(0, 2, rows),
    }


@pytest.fixture(scope="module")
def replaced(oov_spec: DataSpec, ids: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in replace_by_oov(ids, oov_spec, SIZES, SEED).items()}


@pytest.mark.parametrize(("name", "rate"), [("item", 0.2), ("history", 0.2), ("hour", 0.01)])
def test_ids_are_replaced_at_the_rate_of_their_vocabulary(
    name: str, rate: float, ids: dict, replaced: dict
) -> None:
    known = ids[name] > 0
    deviation = np.sqrt(rate * (1 - rate) / known.sum())
    assert abs(np.mean((replaced[name] != ids[name])[known]) - rate) < 5 * deviation


@pytest.mark.parametrize(("name", "unknown"), [("item", {11, 12}), ("history", {11, 12}), ("hour", {4})])
def test_an_id_becomes_any_out_of_vocabulary_id_of_its_own_vocabulary(
    name: str, unknown: set[int], ids: dict, replaced: dict
) -> None:
    assert set(replaced[name][replaced[name] != ids[name]].tolist()) == unknown


def test_padding_numbers_labels_and_vocabularies_without_unknown_ids_stay(ids: dict, replaced: dict) -> None:
    padding = ids["history"] == 0
    np.testing.assert_array_equal(replaced["history"][padding], 0)
    for name in ("page", "age", "label"):
        np.testing.assert_array_equal(replaced[name], ids[name])


def test_features_of_one_vocabulary_are_replaced_independently(ids: dict, replaced: dict) -> None:
    item, history = (replaced[name] != ids[name] for name in ("item", "history"))
    both = np.mean(item & history[:, 0])
    assert abs(both - np.mean(item) * np.mean(history[:, 0])) < 0.01


def test_another_seed_replaces_others(oov_spec: DataSpec, ids: dict, replaced: dict) -> None:
    again = replace_by_oov(ids, oov_spec, SIZES, SEED)
    np.testing.assert_array_equal(again["item"], replaced["item"])
    for other in ([43, 7], [42, 8]):
        differs = (
            replace_by_oov(ids, oov_spec, SIZES, tf.constant(other, tf.int64))["item"] != replaced["item"]
        )
        assert 0.2 < np.mean(differs) < 0.5  # two independent draws at 0.2 differ in about 0.33 of the ids


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_every_seed_keeps_shapes_types_and_ranges(first: int, second: int) -> None:
    spec = DataSpec.model_validate(
        {
            "name": "one",
            "label": "label",
            "splits": {"train": "a", "eval": "b", "test": "c"},
            "features": {"item": {"type": "categorical", "vocabulary": {"oov_rate": 0.9, "oov_buckets": 3}}},
        }
    )
    ids = np.arange(9).repeat(5)
    found = replace_by_oov({"item": ids}, spec, {"item": 8}, tf.constant([first, second], tf.int64))["item"]
    assert found.shape == ids.shape
    assert found.dtype == tf.int64
    changed = found.numpy()[found.numpy() != ids]
    assert ((changed >= 6) & (changed <= 8)).all()
