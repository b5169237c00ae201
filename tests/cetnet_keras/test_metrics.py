"""Metrics against scikit-learn, and against loops over pairs and groups written from their definitions."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.metrics import (
    EPSILON,
    auc,
    calibration,
    expected_calibration_error,
    group_auc,
    log_loss,
    normalised_entropy,
)

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=60)


def auc_by_pairs(labels: np.ndarray, scores: np.ndarray) -> float:
    """The share of (click, no click) pairs in the right order; a tie is half a pair."""
    pairs = [(c > n) + 0.5 * (c == n) for c in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean(pairs)) if pairs else np.nan


@settings(deadline=None, max_examples=30)
@given(ROWS)
def test_group_auc_is_a_mean_over_groups_with_both_labels(rows: list[tuple[int, int, int]]) -> None:
    labels, scores, groups = np.array(rows).T
    sizes, areas = [], []
    for group in set(groups):
        area = auc_by_pairs(labels[groups == group], scores[groups == group])
        if not np.isnan(area):
            sizes.append(np.sum(groups == group))
            areas.append(area)
    found = group_auc(labels, scores, groups)
    assert found.groups == len(areas)
    wanted = (np.average(areas, weights=sizes), np.mean(areas)) if areas else (np.nan, np.nan)
    np.testing.assert_allclose((found.weighted, found.mean), wanted, rtol=1e-12)
    np.testing.assert_allclose(auc(labels, scores), auc_by_pairs(labels, scores), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(ROWS, st.randoms(use_true_random=False))
def test_group_auc_knows_neither_order_nor_scale_nor_names(
    rows: list[tuple[int, int, int]], random: Random
) -> None:
    labels, scores, groups = np.array(rows).T
    order = list(range(len(rows)))
    random.shuffle(order)
    names = np.array([f"user {group}" for group in groups])
    found = group_auc(labels[order], np.exp(scores[order]), names[order])
    np.testing.assert_allclose(found, group_auc(labels, scores, groups), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(ROWS, st.data())
def test_a_row_of_weight_n_counts_as_n_rows(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    labels, scores, groups = np.array(rows).T
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    p, again = 1 / (1 + np.exp(-scores)), np.repeat(np.arange(len(rows)), weights)
    error_in_bins = partial(expected_calibration_error, bins=3)
    for metric in (auc, log_loss, calibration, normalised_entropy, error_in_bins):
        found, expected = metric(labels, p, weights), metric(labels[again], p[again])
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    by_group = group_auc(labels[again], p[again], groups[again])
    np.testing.assert_allclose(group_auc(labels, p, groups, weights), by_group, rtol=1e-12)


def test_auc_and_log_loss_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = np.round(rng.beta(1, 20, 20_000), 3).astype(np.float32)  # rounded: many ties, some exact zeros
    y = (rng.random(20_000) < p).astype(np.int64)
    assert (p == 0).any() and len(np.unique(p)) < 1000
    assert auc(y, p) == pytest.approx(sklearn.metrics.roc_auc_score(y, p), rel=1e-12)
    clipped = np.clip(p.astype(np.float64), EPSILON, 1 - EPSILON)
    assert log_loss(y, p) == pytest.approx(sklearn.metrics.log_loss(y, clipped), rel=1e-9)


def test_entropy_and_calibration_error_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(1, 20, 15_000)
    y = (rng.random(15_000) < p**1.2).astype(np.int64)
    rate = np.full(15_000, y.mean())
    entropy = sklearn.metrics.log_loss(y, p) / sklearn.metrics.log_loss(y, rate)
    assert normalised_entropy(y, p) == pytest.approx(entropy, rel=1e-9)
    clicked, promised = sklearn.calibration.calibration_curve(y, p, n_bins=15, strategy="quantile")
    assert expected_calibration_error(y, p) == pytest.approx(np.abs(clicked - promised).mean(), rel=1e-9)


@pytest.mark.parametrize("metric", [log_loss, calibration, normalised_entropy, expected_calibration_error])
@pytest.mark.parametrize("wrong", [1.5, -2.0])
def test_log_odds_are_no_probabilities(metric: Callable[..., float], wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"probabilities must be from 0 to 1.*Received: {wrong:g}"):
        metric([1, 0], [0.5, wrong])


def test_group_auc_of_many_groups_of_text() -> None:
    rng = np.random.default_rng(1)
    groups = np.array([f"u{user}" for user in rng.zipf(1.3, 5_000) % 400])
    p = rng.random(5_000)
    y = (rng.random(5_000) < p).astype(float)
    sizes, areas = [], []
    for group in np.unique(groups):
        own = groups == group
        if 0 < y[own].sum() < own.sum():
            sizes.append(own.sum())
            areas.append(sklearn.metrics.roc_auc_score(y[own], p[own]))
    found = group_auc(y, p, groups)
    assert found == pytest.approx((np.average(areas, weights=sizes), np.mean(areas), len(areas)), rel=1e-12)
    assert abs(found.weighted - found.mean) > 0.001  # the two definitions are two figures


def test_a_certain_and_wrong_prediction_costs_a_finite_loss() -> None:
    assert log_loss([1, 0], [0.0, 1.0]) == pytest.approx(-np.log(1e-7), rel=1e-6)
    assert log_loss([1, 0], [1.0, 0.0]) == pytest.approx(1e-7, rel=1e-6)


def test_calibration_and_normalised_entropy_by_hand() -> None:
    y, p = np.array([1, 0, 0, 0]), np.array([0.5, 0.25, 0.125, 0.125])
    assert calibration(y, p) == 1.0
    assert calibration(y, 2 * p) == 2.0
    loss = -(np.log(0.5) + np.log(0.75) + 2 * np.log(0.875)) / 4
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert normalised_entropy(y, p) == pytest.approx(loss / entropy, rel=1e-12)
    assert normalised_entropy(y, np.full(4, 0.25)) == pytest.approx(1.0, rel=1e-12)


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.4, 0.6, 0.9])
    y = np.array([0, 0, 1, 1, 0, 1])
    assert expected_calibration_error(y, p, bins=2) == pytest.approx((abs(0.3 - 1) + abs(1.9 - 2)) / 6)
    assert expected_calibration_error(y, p, bins=1) == pytest.approx(abs(2.2 - 3) / 6)
    weight = np.array([1, 1, 0, 2, 1, 1])
    assert expected_calibration_error(y, p, weight, bins=2) == pytest.approx((0.2 + abs(2.3 - 3)) / 6)
    weight = np.array([1, 5, 1, 1])  # eight rows, of which the fifth, .2, begins the second bin
    found = expected_calibration_error([1, 0, 0, 1], [0.1, 0.2, 0.3, 0.9], weight, bins=2)
    assert found == pytest.approx((abs(0.1 - 1) + abs(1.0 + 0.3 + 0.9 - 1)) / 8)
    assert np.isnan(expected_calibration_error([], [])) and np.isnan(
        expected_calibration_error([1], [np.nan])
    )


def test_equal_probabilities_are_in_one_bin() -> None:
    """Whatever the order of the rows: else the figure would depend on it."""
    y, p = np.array([1, 0, 0, 0, 1, 0, 0, 0]), np.full(8, 0.25)
    for order in (np.arange(8), np.argsort(-y)):
        assert expected_calibration_error(y[order], p[order], bins=4) == 0


def test_calibration_error_finds_what_the_ratio_does_not() -> None:
    rng = np.random.default_rng(2)
    truth = np.minimum(rng.beta(2, 20, 100_000), 0.3)  # so that no sharper one is above 1
    y = rng.random(100_000) < truth
    sharper = 1 / (1 + np.exp(-2 * np.log(truth / (1 - truth))))
    sharper *= y.sum() / sharper.sum()
    assert calibration(y, sharper) == pytest.approx(1)
    assert expected_calibration_error(y, truth) < 0.005 < 0.02 < expected_calibration_error(y, sharper)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_label_alone_has_no_auc(labels: list[int]) -> None:
    p = [0.2] * len(labels)
    assert np.isnan(auc(labels, p)) and np.isnan(normalised_entropy(labels, p))
    assert group_auc(labels, p, labels).groups == 0
    assert np.isnan(calibration(labels, p)) == (1 not in labels)
    assert np.isnan(log_loss(labels, p)) == (labels == [])


def test_a_score_that_is_not_a_number_spoils_the_mean_and_not_other_groups() -> None:
    labels, scores = [1, 0, 1, 0, 1], [np.nan, 0.1, 0.9, 0.2, np.nan]
    assert np.isnan(auc(labels, scores)) and np.isnan(log_loss(labels, scores))
    found = group_auc(labels, scores, [1, 1, 2, 2, 3])
    assert found.groups == 2 and np.isnan(found.mean) and np.isnan(found.weighted)
    assert group_auc(labels, scores, [1, 2, 3, 3, 4]) == (1.0, 1.0, 1)  # groups of one label do not count


@pytest.mark.parametrize(
    "metric", [auc, log_loss, calibration, normalised_entropy, expected_calibration_error]
)
def test_wrong_labels_and_lengths_are_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match=r"one length. Received: \(2,\), \(3,\) and \(2,\)"):
        metric([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"labels must be 0 or 1\. Received: 2"):
        metric([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"labels must be 0 or 1\. Received: nan"):
        metric([0, np.nan], [0.1, 0.2])


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape of `labels`. Received: \(1,\) and \(2,\)"):
        group_auc([0, 1], [0.1, 0.2], ["u"])


def test_metrics_need_no_tensorflow() -> None:
    code = "import sys, cetnet_keras.metrics; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
