"""Paired differences of the benchmark: DeLong's test and the errors of users' rows against a bootstrap."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.paired import auc_difference, gauc_difference, log_loss_difference
from benchmarks.quality.results import Scores, sigmoid
from cetnet_keras.metrics import auc, group_auc, log_loss
from pipeline.groups import NO_GROUP


def test_delong_is_the_difference_and_the_error_of_a_bootstrap(scored: Callable[..., Any]) -> None:
    label, first, second = scored(0)
    found = auc_difference(label, first, second)
    assert found.value == pytest.approx(auc(label, first) - auc(label, second), abs=1e-12)
    rng, draws = np.random.default_rng(1), []
    for _ in range(1000):
        own = rng.integers(0, len(label), len(label))
        draws.append(auc(label[own], first[own]) - auc(label[own], second[own]))
    assert found.error == pytest.approx(np.std(draws), rel=0.1)


def of_users(seed: int, users: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, two scores, and users of 1 to 20 rows: how often one clicks, and how each model errs, is the user's own."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 21, users))
    label = (rng.random(len(user)) < rng.beta(1, 2, users)[user]).astype(np.float64)
    own = rng.normal(size=(2, users))[:, user] + rng.normal(size=(2, len(user)))
    return label, label + 0.5 * own[0], label + 0.8 * own[1], user


def test_errors_are_those_of_a_bootstrap_over_users() -> None:
    label, first, second, user = of_users(4)
    both = auc_difference, log_loss_difference
    rows = [np.flatnonzero(user == each) for each in range(user.max() + 1)]
    rng, draws = np.random.default_rng(5), []
    pair = sigmoid(first), sigmoid(second)
    for _ in range(1000):
        own = np.concatenate([rows[each] for each in rng.integers(0, len(rows), len(rows))])
        draws.append([difference(label[own], pair[0][own], pair[1][own]).value for difference in both])
    for difference, expected in zip(both, np.std(draws, axis=0), strict=True):
        found, of_rows = difference(label, *pair, user), difference(label, *pair)
        assert found.error == pytest.approx(expected, rel=0.1)
        assert found.value == of_rows.value and of_rows.error < 0.8 * expected


def test_groups_of_one_row_are_rows(scored: Callable[..., Any]) -> None:
    label, first, second = scored(6)
    alone = np.random.default_rng(7).permutation(len(label))
    pair = sigmoid(first), sigmoid(second)
    each = -np.log(np.where(label == 1, pair[0], 1 - pair[0]) / np.where(label == 1, pair[1], 1 - pair[1]))
    for difference in (auc_difference, log_loss_difference):
        assert difference(label, *pair, alone) == pytest.approx(difference(label, *pair), abs=1e-15)
    expected = each.std(ddof=1) / np.sqrt(len(each))
    assert log_loss_difference(label, *pair).error == pytest.approx(expected, rel=1e-9)
    clicked, placements = label == 1, []
    for scores in pair:
        wins = np.sign(scores[clicked][:, None] - scores[~clicked]) / 2 + 0.5  # [clicks, others]
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    variance = sum(np.var(one - two, ddof=1) / len(one) for one, two in zip(*placements, strict=True))
    assert auc_difference(label, *pair).error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_a_model_does_not_differ_from_itself(scored: Callable[..., Any]) -> None:
    label, first, _ = scored(2)
    group = np.arange(len(label)) % 40
    differences = (
        auc_difference(label, first, first),
        auc_difference(label, first, first, group),
        gauc_difference(label, first, first, group),
        log_loss_difference(label, sigmoid(first), sigmoid(first)),
    )
    assert all(found == (0.0, 0.0) and found.p == 1 for found in differences)


def test_group_and_loss_differences_are_those_of_the_metrics(scored: Callable[..., Any]) -> None:
    label, first, second = scored(3)
    group = np.arange(len(label)) % 40
    expected = group_auc(label, first, group).weighted - group_auc(label, second, group).weighted
    assert gauc_difference(label, first, second, group).value == pytest.approx(expected, abs=1e-12)
    p, q = sigmoid(first), sigmoid(second)
    found = log_loss_difference(label, p, q)
    assert found.value == pytest.approx(log_loss(label, p) - log_loss(label, q), abs=1e-12)
    assert 0 < found.error < 0.1


def test_rows_without_a_group_are_in_no_group_auc_and_independent(scored: Callable[..., Any]) -> None:
    label, first, second = scored(4)
    group = np.arange(len(label)) % 40
    known = np.arange(len(label)) >= 100
    none = np.where(known, group, NO_GROUP)
    expected = gauc_difference(label[known], first[known], second[known], group[known])
    assert gauc_difference(label, first, second, none) == expected
    nobody = np.full(len(label), NO_GROUP)
    for difference in (auc_difference, log_loss_difference):
        pair = label, sigmoid(first), sigmoid(second)
        assert difference(*pair, nobody) == difference(*pair), "such rows do not depend on each other"
    whole = Scores({"eval": first, "test": first}, None, {"eval": label, "test": label}, none)
    within = group_auc(label[known], first[known], group[known]).weighted
    assert whole.figures()["raw_gauc"] == pytest.approx(within, abs=1e-12)
