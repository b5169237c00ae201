"""Paired tests: how sure it is that one model is better than another on the same test rows."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from cetnet_keras.metrics import group_auc


class Difference(NamedTuple):
    """A figure of the first model less that of the second, and its standard error."""

    value: float
    error: float

    @property
    def p(self) -> float:
        """Chance of a difference this large, either way, where there is none."""
        return (
            float(2 * stats.norm.sf(abs(self.value) / self.error))
            if self.error > 0
            else float(self.value == 0)
        )


def auc_difference(label: np.ndarray, first: np.ndarray, second: np.ndarray) -> Difference:
    """AUC of two models on the same rows, by DeLong's test. Source: DeLong et al. 1988; placements by mid-ranks as in
    Sun and Xu 2014.

    Args:
        label: [N], 0 or 1, both of them there.
        first, second: [N] scores.
    """
    clicked = label == 1
    clicks, others = int(clicked.sum()), int((~clicked).sum())
    above, below = (
        [],
        [],
    )  # [2, clicks] and [2, others]: the share of the other class that each row stands right to
    for scores in (first, second):
        all_ranks = stats.rankdata(scores)
        above.append((all_ranks[clicked] - stats.rankdata(scores[clicked])) / others)
        below.append(1 - (all_ranks[~clicked] - stats.rankdata(scores[~clicked])) / clicks)
    covariance = np.cov(above) / clicks + np.cov(below) / others  # [2, 2]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return Difference(float(above[0].mean() - above[1].mean()), float(np.sqrt(max(variance, 0.0))))


def log_loss_difference(label: np.ndarray, first: np.ndarray, second: np.ndarray) -> Difference:
    """Log loss of two models on the same rows: the mean of the rows' differences and its standard error."""
    losses = [-np.log(np.clip(np.where(label == 1, p, 1 - p), 1e-7, 1)) for p in (first, second)]
    each = losses[0] - losses[1]
    return Difference(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))))


def gauc_difference(
    label: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    group: np.ndarray,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Rows-weighted group AUC of two models, its error by a bootstrap over groups.

    Args:
        label, first, second: [N]. group: [N].
        draws: samples of the groups, with replacement.
    """
    codes = np.unique(group, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    parts = np.split(order, starts[1:])
    figures = [
        (
            len(own),
            group_auc(label[own], first[own], codes[own]).mean,
            group_auc(label[own], second[own], codes[own]).mean,
        )
        for own in parts
        if 0 < label[own].sum() < len(own)
    ]
    rows, one, two = np.array(figures).T
    draw = np.random.default_rng(seed).integers(0, len(rows), (draws, len(rows)))
    each = (rows * (one - two))[draw].sum(axis=1) / rows[draw].sum(axis=1)
    return Difference(float(np.average(one - two, weights=rows)), float(each.std(ddof=1)))
