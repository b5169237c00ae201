"""Numbers, scaled and in buckets, on the columns that are easily got wrong; expected values are computed in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cetnet_keras.spec import NumericFeature

SPEC = """
name: edges
label: y
features:
  mean: {type: numeric}
  mean_none: {type: numeric}
  mean_same: {type: numeric}
  mean_one: {type: numeric}
  mean_default: {type: numeric, default: 7}
  share: {type: numeric, transform: minmax}
  share_none: {type: numeric, transform: minmax}
  share_same: {type: numeric, transform: minmax}
  logged: {type: numeric, transform: log1p}
  squared: {type: numeric, transform: log_squared}
  plain: {type: numeric, transform: none}
  plain_default: {type: numeric, transform: none, default: 7}
  quarter: {type: numeric, buckets: 4}
  quarter_default: {type: numeric, buckets: 4, default: 250}
  third_none: {type: numeric, buckets: 3}
  third_same: {type: numeric, buckets: 3}
"""
NUMBERS = [1.0, 2.0, None, 6.0, 3.0, None, 0.0, -4.0]
LARGE = [0.0, 2.0, None, -50.0, 3.0, None, 1e6, 2.5]
NONE: list[Any] = [None] * 8
SAME = [5.0] * 6 + [None] * 2
TRAIN: dict[str, list[Any]] = {
    "mean": NUMBERS,
    "mean_none": NONE,
    "mean_same": SAME,
    "mean_one": [3.0] + [None] * 7,
    "mean_default": NUMBERS,
    "share": NUMBERS,
    "share_none": NONE,
    "share_same": SAME,
    "logged": LARGE,
    "squared": LARGE,
    "plain": LARGE,
    "plain_default": LARGE,
    "quarter": NONE,
    "quarter_default": NONE,
    "third_none": NONE,
    "third_same": SAME,
}
QUARTERS = np.random.default_rng(3).permutation(400).astype(float)  # of both `quarter`, in rows of their own
FAR = [1e30, None, -1e30, 2.0]
NEAR = [5.0, None, 4.0, 6.0]
SERVED: dict[str, list[Any]] = {
    "mean": FAR,
    "mean_none": NEAR,
    "mean_same": NEAR,
    "mean_one": NEAR,
    "mean_default": FAR,
    "share": FAR,
    "share_none": NEAR,
    "share_same": NEAR,
    "logged": FAR,
    "squared": FAR,
    "plain": FAR,
    "plain_default": FAR,
    "quarter": [1e30, None, -1e30, 150.0],
    "quarter_default": [1e30, None, -1e30, 150.0],
    "third_none": NEAR,
    "third_same": NEAR,
}


@pytest.fixture(scope="module")
def transformed(transform_rows: Callable[..., Any]) -> Any:
    """What the graph made of TRAIN and of QUARTERS, and of SERVED as a server calls it."""
    fillers = [{"quarter": value, "quarter_default": value} for value in QUARTERS]
    return transform_rows(SPEC, TRAIN, SERVED, fillers)


def known(values: list[Any]) -> np.ndarray:
    return np.array([value for value in values if value is not None], np.float64)


def with_missing(values: list[Any], missing: float) -> np.ndarray:
    return np.array([missing if value is None else value for value in values], np.float64)


def log1p(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log(1 + np.abs(x))


def log_squared(x: np.ndarray) -> np.ndarray:
    return np.array([np.floor(np.log(value) ** 2) if value > 2 else value for value in x])


def zscore(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (x - train.mean()) / np.sqrt(np.mean((train - train.mean()) ** 2))


def minmax(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return np.clip((x - train.min()) / (train.max() - train.min()), 0, 1)


SCALED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": zscore,
    "mean_default": zscore,
    "share": minmax,
    "logged": lambda x, train: zscore(log1p(x), log1p(train)),
    "squared": lambda x, train: zscore(log_squared(x), log_squared(train)),
    "plain": lambda x, train: x,
    "plain_default": lambda x, train: x,
    # nothing is known of these: they say 0, and no division by nothing
    "mean_none": lambda x, train: 0 * x,
    "share_none": lambda x, train: 0 * x,
    "mean_same": lambda x, train: 0 * x,
    "share_same": lambda x, train: 0 * x,
    "mean_one": lambda x, train: 0 * x,
}


@pytest.mark.parametrize("name", SCALED)
def test_numbers_are_scaled_by_what_is_there_and_missing_ones_are_marked(transformed: Any, name: str) -> None:
    feature = transformed.spec.features[name]
    assert isinstance(feature, NumericFeature)
    default = feature.default
    for columns, found in ((TRAIN, transformed.train), (SERVED, transformed.served)):
        missing = np.array([value is None for value in columns[name]])
        values = with_missing(columns[name], np.nan if default is None else default)
        expected = SCALED[name](values, known(TRAIN[name]))
        if default is None:
            expected = np.where(missing, 0, expected)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found[f"{name}/missing"], missing)


def test_quantile_buckets_share_the_rows_out_evenly(transformed: Any) -> None:
    expected = 1 + QUARTERS // 100
    for name in ("quarter", "quarter_default"):
        found = np.array(transformed.fillers[name])
        assert np.mean(found != expected) < 0.02  # boundaries are exact to 0.01 of the rows
        assert (np.diff(found[np.argsort(QUARTERS)]) >= 0).all()
    assert transformed.train["quarter"] == [0] * 8, "0 is missing"
    assert transformed.served["quarter"] == [4, 0, 1, 2]
    assert transformed.train["quarter_default"] == [3] * 8, "the default, 250, has a bucket"
    assert transformed.served["quarter_default"] == [4, 3, 1, 2]


@pytest.mark.parametrize("name", ["third_none", "third_same"])
def test_buckets_without_quantiles_are_buckets_all_the_same(transformed: Any, name: str) -> None:
    value, missing, below, above = transformed.served[name]
    assert missing == 0 and 1 <= below <= value <= above <= 3
    assert [found == 0 for found in transformed.train[name]] == [value is None for value in TRAIN[name]]


def test_a_server_makes_numbers_and_the_same_of_the_rows_of_training(
    transformed: Any, assert_served_as_trained: Callable[..., None]
) -> None:
    assert_served_as_trained(transformed)


def test_how_many_rows_beam_gives_to_a_batch_changes_no_value(transform_rows: Callable[..., Any]) -> None:
    names = {"mean": "zscore", "logged": "log1p", "share": "minmax", "same": "zscore"}
    features = [f"  {name}: {{type: numeric, transform: {how}}}" for name, how in names.items()]
    text = "\n".join(
        ["name: batches", "label: y", "features:", *features, "  quarter: {type: numeric, buckets: 4}"]
    )
    values = np.random.default_rng(5).lognormal(3, 2, 500).tolist()
    train = dict.fromkeys([*names, "quarter"], values) | {"same": [0.1] * 500}
    served = {name: [0.2, 5.0] for name in train}
    small, large = (transform_rows(text, train, served, batch_size=size) for size in (7, 500))
    for columns, others in ((small.train, large.train), (small.served, large.served)):
        for name in train:
            np.testing.assert_array_equal(columns[name], others[name], name)
    np.testing.assert_array_equal(small.served["same"], [0, 0])
