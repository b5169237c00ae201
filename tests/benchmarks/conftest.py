"""Rows that two models score."""

from collections.abc import Callable

import numpy as np
import pytest

Scored = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    """(seed, number of rows) -> labels and two scores that know something of them."""
    return _scored


def _scored(seed: int, rows: int = 400) -> Scored:
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(np.float64)
    common = label + rng.normal(size=rows)
    return label, common + 0.5 * rng.normal(size=rows), common + 0.8 * rng.normal(size=rows)
