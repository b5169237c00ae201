"""Paired tests: how sure it is that one model is better than another on the same test rows."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from cetnet_keras.metrics import EPSILON, group_auc
from pipeline.groups import NO_GROUP


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


def auc_difference(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, group: np.ndarray | None = None
) -> Difference:
    """AUC of two models on the same rows, by DeLong's test, the rows of a group taken as one draw.

    Sources: DeLong et al. 1988; placements by mid-ranks as in Sun and Xu 2014; their sums by group as in Obuchowski 1997,
    which is DeLong's error where each row is a group.

    Args:
        label: [N], 0 or 1, both of them there.
        first, second: [N] scores.
        group: [N], rows with equal values depend on each other; None: all rows are independent.
    """
    clicked, codes = label == 1, _codes(group, len(label))
    clicks, others = int(clicked.sum()), int((~clicked).sum())
    # [N], the share of the other class that a row stands right to by the first model, less that by the second
    gain = np.zeros(len(label))
    for sign, scores in ((1, first), (-1, second)):
        all_ranks = stats.rankdata(scores)
        gain[clicked] += sign * (all_ranks[clicked] - stats.rankdata(scores[clicked])) / others
        gain[~clicked] += sign * (1 - (all_ranks[~clicked] - stats.rankdata(scores[~clicked])) / clicks)
    value = float(gain[clicked].mean())
    above = np.bincount(codes, np.where(clicked, gain - value, 0)) / clicks  # [G]
    below = np.bincount(codes, np.where(clicked, 0, gain - value)) / others  # [G]
    variance = (
        _unbiased(len(np.unique(codes[clicked]))) * (above**2).sum()
        + _unbiased(len(np.unique(codes[~clicked]))) * (below**2).sum()
        + 2 * _unbiased(len(above)) * (above * below).sum()
    )
    return Difference(value, float(np.sqrt(max(variance, 0.0))))


def log_loss_difference(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, group: np.ndarray | None = None
) -> Difference:
    """Log loss of two models on the same rows: the mean of the rows' differences and its standard error.

    Args:
        label: [N], 0 or 1.
        first, second: [N] probabilities.
        group: [N], rows with equal values depend on each other; None: all rows are independent.
    """
    losses = [-np.log(np.clip(np.where(label == 1, p, 1 - p), EPSILON, 1)) for p in (first, second)]
    each = losses[0] - losses[1]
    value = float(each.mean())
    sums = np.bincount(_codes(group, len(each)), each - value) / len(each)  # [G]
    return Difference(value, float(np.sqrt(_unbiased(len(sums)) * (sums**2).sum())))


def _codes(group: np.ndarray | None, rows: int) -> np.ndarray:
    """[N], the place of each row's group, 0 to G - 1; a row of NO_GROUP is a group by itself, and so in no group AUC."""
    if group is None:
        return np.arange(rows)
    own = np.where(group == NO_GROUP, np.max(group) + 1 + np.arange(rows), group)
    return np.unique(own, return_inverse=True)[1]


def _unbiased(count: int) -> float:
    """What the square of `count` deviations from their own mean is too small by; NaN for one, which says nothing."""
    return count / (count - 1) if count > 1 else np.nan


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
        label, first, second: [N]. group: [N]; rows of NO_GROUP are left out.
        draws: samples of the groups, with replacement.
    """
    codes = _codes(group, len(label))
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
