"""Score buckets against NumPy and scikit-learn on the rows that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import auc, roc_auc_score

from pipeline.score_buckets import BUCKETS, reliability, roc, score_buckets


def clicks(rows: int, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(label, float32 score) of a calibrated model at a click rate of about `rate`."""
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + rng.normal(size=rows))))
    return (rng.random(rows) < score).astype(int), score.astype(np.float32)


def area(label: np.ndarray, score: np.ndarray) -> float:
    false_positive, true_positive = roc(score_buckets(label, score))
    return float(auc(false_positive, true_positive))


@pytest.mark.parametrize(("rate", "tolerance"), [(0.5, 2e-5), (0.02, 2e-4)])
def test_the_area_under_the_curve_is_the_auc(rate: float, tolerance: float) -> None:
    label, score = clicks(40_000, rate)
    assert area(label, score) == pytest.approx(roc_auc_score(label, score), abs=tolerance)
    assert 0.9 * BUCKETS < len(score_buckets(label, score).lower) <= BUCKETS


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=2, max_size=80))
def test_a_curve_of_few_scores_is_exact(rows: list[tuple[int, int]]) -> None:
    label, score = np.array(rows).T
    if len(set(label)) == 2:
        assert area(label, score / 10) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    else:
        assert len(roc(score_buckets(label, score / 10))[0]) == 0


@given(st.integers(0, 2**32), st.integers(1, 4000), st.sampled_from([1, 3, 1000]))
def test_the_area_is_never_far_off(seed: int, rows: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.r_[0, 1, rng.integers(0, 2, rows)]
    score = np.r_[0.2, 0.1, np.where(rng.random(rows) < 0.3, 0.5, rng.integers(0, distinct, rows) / distinct)]
    buckets = score_buckets(label, score)
    assert len(buckets.lower) <= 2 * BUCKETS
    assert area(label, score) == pytest.approx(roc_auc_score(label, score), abs=1 / (2 * BUCKETS))


def test_buckets_and_bins_are_sums_over_the_rows_between_their_bounds() -> None:
    label, score = clicks(5000, 0.1)
    weight = np.random.default_rng(1).integers(0, 3, 5000).astype(float)
    buckets = score_buckets(label, score, weight)
    for lower, upper, rows, clicked, predicted in zip(*buckets, strict=True):
        inside = (score >= lower) & (score < upper)
        assert rows == weight[inside].sum() and clicked == weight[inside] @ label[inside]
        assert predicted == pytest.approx(weight[inside] @ score[inside].astype(np.float64))
    found = reliability(score_buckets(label, score), bins=10)
    assert len(found.rows) == 10 and found.rows.sum() == 5000
    edges = np.r_[found.lower, np.inf]
    for place in range(10):
        inside = (score >= edges[place]) & (score < edges[place + 1])
        assert found.rows[place] == inside.sum() and 400 < inside.sum() < 600
        assert found.predicted[place] == pytest.approx(score[inside].astype(np.float64).mean())
        assert found.actual[place] == pytest.approx(label[inside].mean())
        wilson = binomtest(int(label[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
        assert (found.low[place], found.high[place]) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_alone_has_bins_and_no_curve(label: int) -> None:
    score = np.linspace(0.1, 0.9, 50)
    buckets = score_buckets(np.full(50, label), score)
    assert buckets.rows.sum() == 50 and len(roc(buckets)[0]) == 0
    assert (reliability(buckets).actual == label).all()


def test_without_rows_or_with_a_score_that_is_no_number_there_is_nothing() -> None:
    for label, score in (([], []), ([0, 1], [0.5, np.nan])):
        buckets = score_buckets(label, score)
        assert len(buckets.lower) == len(reliability(buckets).rows) == len(roc(buckets)[0]) == 0
