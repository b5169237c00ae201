"""Scores and clicks of many rows in few buckets: enough for a ROC curve and a reliability diagram."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BUCKETS = 200


class ScoreBuckets(NamedTuple):
    """Rows by predicted CTR, lowest first; rows of one score are in one bucket. K is at most 2 * BUCKETS; 0 has none."""

    lower: np.ndarray  # [K], the least score of a bucket
    upper: np.ndarray  # [K], above its largest score and at most the next `lower`
    rows: np.ndarray  # [K] float, sums of weights
    clicks: np.ndarray  # [K] float, sums of weights
    predicted: np.ndarray  # [K] float, sums of weighted scores


class Reliability(NamedTuple):
    """Bins of about as many rows each, by predicted CTR, lowest first."""

    lower: np.ndarray  # [K], the least score of a bin
    rows: np.ndarray  # [K] float
    predicted: np.ndarray  # [K], mean predicted CTR
    actual: np.ndarray  # [K], click rate
    low: np.ndarray  # [K], 95 % interval of the click rate
    high: np.ndarray  # [K]


def score_buckets(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> ScoreBuckets:
    """Sums of rows, clicks and scores by score.

    A bucket ends where it holds 1 / BUCKETS of the mean of two distributions, that of rows with a click and that
    of rows without. So a step of the ROC curve from bucket to bucket is short in both directions, at any click
    rate, and the area under it is off by 1 / (2 * BUCKETS) at the very most. Source: our choice.

    Args:
        labels: [n], 1 for a click and 0 for none.
        scores: [n], predicted CTR; where one is NaN there are no buckets.
        weights: [n], what a row counts; 1 each by default.
    """
    score, label = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    weight = np.ones_like(score) if weights is None else np.asarray(weights, np.float64)
    if not len(score) or np.isnan(score).any():
        return ScoreBuckets(*np.zeros((5, 0)))
    order = np.argsort(score, kind="stable")
    score, label, weight = score[order], label[order], weight[order]
    first = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])  # of each run of equal scores
    mass = np.add.reduceat(_balanced(label, weight), first)
    end = np.cumsum(mass)
    # a run that alone is larger than a bucket is not joined to what comes before it
    step = np.floor(BUCKETS * (end - mass) + 1e-9) + np.where(mass * BUCKETS > 1, 0.5, 0)
    starts = first[np.flatnonzero(np.r_[True, step[1:] != step[:-1]])]
    lower = score[starts]
    sums = [np.add.reduceat(column, starts) for column in (weight, weight * label, weight * score)]
    return ScoreBuckets(lower, np.r_[lower[1:], np.nextafter(score[-1], np.inf)], *sums)


def _balanced(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[n], sums to 1: rows with a click make up one half and rows without the other, where there are both."""
    halves = [part / part.sum() for part in (weight * label, weight * (1 - label)) if part.sum() > 0]
    return np.mean(halves, axis=0) if halves else np.full(len(label), 1 / len(label))


def roc(buckets: ScoreBuckets) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rate [K + 1], true positive rate [K + 1]) from (0, 0) to (1, 1); both empty without both labels."""
    clicks, others = buckets.clicks, buckets.rows - buckets.clicks
    if not (clicks.sum() > 0 and others.sum() > 0):
        return np.zeros(0), np.zeros(0)
    rates = [np.r_[0, np.cumsum(part[::-1])] / part.sum() for part in (others, clicks)]
    return rates[0], rates[1]


def reliability(buckets: ScoreBuckets, bins: int = 10) -> Reliability:
    """Predicted and actual click rate in bins of about as many rows, each made of whole buckets.

    The interval is Wilson's score interval (1927), which stays within 0 and 1 where clicks are few.

    Args:
        buckets: of `score_buckets`.
        bins: how many at most.
    """
    if not buckets.rows.sum() > 0:
        return Reliability(*np.zeros((6, 0)))
    middle = (np.cumsum(buckets.rows) - buckets.rows / 2) / buckets.rows.sum()
    place = np.floor(middle * bins)
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    rows, clicks, predicted = (
        np.add.reduceat(column, starts) for column in (buckets.rows, buckets.clicks, buckets.predicted)
    )
    rate, z = clicks / rows, 1.959964
    centre = (rate + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(rate * (1 - rate) / rows + z**2 / (4 * rows**2))
    return Reliability(buckets.lower[starts], rows, predicted / rows, rate, centre - half, centre + half)
