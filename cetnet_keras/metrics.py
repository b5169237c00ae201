"""Metrics of click predictions, in NumPy alone: ranking (AUC, group AUC), loss (and by entropy), calibration."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

EPSILON = 1e-7  # probabilities are kept this far from 0 and 1, as in Keras, so that no log loss is infinite


class GroupAuc(NamedTuple):
    """AUC within groups, by both definitions in use: a figure is worth little without its name.

    Args:
        weighted: mean of the groups' AUC weighted by their rows, as in FuxiCTR and DIN (arXiv 1706.06978).
        mean: plain mean of the groups' AUC, as in EasyRec and TorchRec.
        groups: number of groups with both labels; the others have no AUC and are left out.
    """

    weighted: float
    mean: float
    groups: int


def weight_among_all(labels: Any, weights: Any, negative_keep_rate: float) -> Any:
    """How often a row counts among all rows, also those that were dropped: without a click 1 / negative_keep_rate times.

    Args:
        labels: [n], 1 for a click and 0 for none; NumPy's or a tensor.
        weights: [n], those of the rows that were kept; of the same kind.
        negative_keep_rate: the share of rows without a click that was kept, above 0.
    Returns:
        [n], of that kind.
    """
    return labels * weights + (1 - labels) * weights / negative_keep_rate


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that a clicked row scores above one that is not; a tie counts half (Mann-Whitney, by mid-ranks).

    Args:
        labels: [n], 1 for a click and 0 for none.
        scores: [n], larger for a likelier click; any monotone scale.
        weights: [n], 0 or more, how often a row counts; 1 if left out.
    Returns:
        0 to 1; NaN where only one label occurs or a score is NaN.
    Raises:
        ValueError: the arrays differ in length or a label is neither 0 nor 1.
    """
    y, s, w = _checked(labels, scores, weights)
    return group_auc(y, s, np.zeros(len(y), np.int8), w).mean


def group_auc(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> GroupAuc:
    """AUC within each group, such as a user, averaged over the groups that have both labels.

    Args:
        labels: [n], 1 for a click and 0 for none.
        scores: [n], larger for a likelier click; any monotone scale.
        groups: [n], rows with equal values are one group; any type that NumPy can sort.
        weights: [n], 0 or more, how often a row counts, in its group and in the weight of its group; 1 if left out.
    Returns:
        GroupAuc; both averages are NaN where no group has both labels or a score of one that has is NaN.
    Raises:
        ValueError: the arrays differ in length or a label is neither 0 nor 1.
    """
    y, s, w = _checked(labels, scores, weights)
    keys = np.asarray(groups)
    if keys.shape != y.shape:
        raise ValueError(f"`groups` must have the shape of `labels`. Received: {keys.shape} and {y.shape}")
    codes = np.unique(keys, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((s, codes))  # by group, by score within it
    y, s, w, codes = y[order], s[order], w[order], codes[order]
    rows, clicks = np.bincount(codes, weights=w), np.bincount(codes, weights=w * y)
    below = np.cumsum(w * (1 - y)) - w * (1 - y)  # rows without a click that stand before this one
    first = np.unique(codes, return_index=True)[1]
    below -= below[first][codes] if len(codes) else 0.0
    run = _runs(codes, s)
    tied = np.bincount(run, weights=w * (1 - y))
    under = (below[np.unique(run, return_index=True)[1]] + tied / 2)[run]
    above = np.bincount(codes, weights=w * y * under)  # pairs in the right order, half of the ties among them
    pairs = clicks * (rows - clicks)
    both = pairs > 0
    if not both.any():
        return GroupAuc(np.nan, np.nan, 0)
    unknown = np.bincount(codes, weights=np.isnan(s)) > 0
    values = np.where(unknown[both], np.nan, above[both] / pairs[both])
    return GroupAuc(float(np.average(values, weights=rows[both])), float(values.mean()), int(both.sum()))


def log_loss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean binary cross entropy in nats; probabilities are clipped to EPSILON and 1 - EPSILON.

    Args:
        labels: [n], 1 for a click and 0 for none.
        probabilities: [n], of a click.
        weights: [n], 0 or more, how often a row counts; 1 if left out.
    Returns:
        0 or more; NaN where no row counts or a probability is NaN.
    Raises:
        ValueError: the arrays differ in length, a label is neither 0 nor 1, or a probability is below 0 or above 1.
    """
    y, p, w = _of_probabilities(labels, probabilities, weights)
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return float(np.average(-np.log(np.where(y == 1, p, 1 - p)), weights=w)) if w.sum() > 0 else np.nan


def calibration(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Predicted clicks over actual ones: 1 is right, 2 promises twice as many. NaN without a click.

    Args:
        labels: [n], 1 for a click and 0 for none.
        probabilities: [n], of a click.
        weights: [n], 0 or more, how often a row counts; 1 if left out.
    Raises:
        ValueError: the arrays differ in length, a label is neither 0 nor 1, or a probability is below 0 or above 1.
    """
    y, p, w = _of_probabilities(labels, probabilities, weights)
    return float(w @ p / (w @ y)) if (w * y).any() else np.nan


def normalised_entropy(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Log loss over that of predicting the click rate (He et al. 2014): below 1 it says more than the rate does.

    Args:
        labels: [n], 1 for a click and 0 for none.
        probabilities: [n], of a click.
        weights: [n], 0 or more, how often a row counts; 1 if left out.
    Returns:
        0 or more; NaN where one label alone counts or a probability is NaN.
    Raises:
        ValueError: the arrays differ in length, a label is neither 0 nor 1, or a probability is below 0 or above 1.
    """
    y, p, w = _of_probabilities(labels, probabilities, weights)
    rate = float(np.average(y, weights=w)) if w.sum() > 0 else 0.0
    return log_loss(y, p, w) / entropy(rate) if 0 < rate < 1 else np.nan


def entropy(rate: float) -> float:
    """Entropy, in nats, of a click of this probability, which lies between 0 and 1."""
    return float(-rate * np.log(rate) - (1 - rate) * np.log1p(-rate))


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, bins: int = 15
) -> float:
    """Mean, over bins of rows, of |clicks predicted - clicks that happened| a row.

    Bins have equal numbers of rows, or sums of weights, by probability, equal probabilities in one bin: bins of equal
    width, as in Guo et al. (arXiv 1706.04599), who have 15 too, hold all rows of a low click rate in one. Source: Nguyen
    and O'Connor 2015 (arXiv 1508.05154); that bins of few rows look worse than they are is true of any such figure.

    Args:
        labels: [n], 1 for a click and 0 for none.
        probabilities: [n], of a click.
        weights: [n], 0 or more, how often a row counts; 1 if left out.
        bins: 1 or more.
    Returns:
        0 to 1; NaN where no row counts or a probability is NaN.
    Raises:
        ValueError: the arrays differ in length, a label is neither 0 nor 1, or a probability is below 0 or above 1.
    """
    y, p, w = _of_probabilities(labels, probabilities, weights)
    if not w.sum() > 0 or np.isnan(p).any():
        return np.nan
    order = np.argsort(p)
    firsts = np.searchsorted(np.cumsum(w[order]), np.arange(1, bins) * w.sum() / bins, side="right")
    edges = p[order][np.minimum(firsts, len(p) - 1)]  # the first probability of each bin but the first
    which = np.searchsorted(edges, p, side="right")
    return float(np.abs(np.bincount(which, weights=w * (p - y), minlength=bins)).sum() / w.sum())


def _checked(
    labels: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, v = np.asarray(labels, np.float64), np.asarray(values, np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    if y.ndim != 1 or y.shape != v.shape or y.shape != w.shape:
        shapes = f"{y.shape}, {v.shape} and {w.shape}"
        raise ValueError(f"labels, predictions and weights must have one length. Received: {shapes}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError(f"labels must be 0 or 1. Received: {y[~np.isin(y, (0.0, 1.0))][0]:g}")
    return y, v, w


def _of_probabilities(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, p, w = _checked(labels, probabilities, weights)
    outside = (p < 0) | (p > 1)  # NaN is neither
    if outside.any():
        raise ValueError(
            f"probabilities must be from 0 to 1, which log odds are not. Received: {p[outside][0]:g}"
        )
    return y, p, w


def _runs(codes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The number, from 0, of the run of rows with one group and one score; all [n], sorted by both."""
    starts = np.ones(len(codes), bool)
    starts[1:] = (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])
    return np.cumsum(starts) - 1
