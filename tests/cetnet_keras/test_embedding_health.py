"""Embedding health against NumPy's own decomposition."""

import numpy as np
import pytest

from cetnet_keras.embedding_health import information_abundance, row_marks, row_norms


@pytest.mark.parametrize("shape", [(1000, 8), (3, 8), (200_000, 2), (5, 1)])
@pytest.mark.parametrize("rank", [1, 8])
def test_information_abundance_is_the_sum_of_singular_values_over_the_largest(
    shape: tuple[int, int], rank: int
) -> None:
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))).astype(np.float32)
    values = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    assert information_abundance(table) == pytest.approx(values.sum() / values[0], rel=1e-5)


def test_a_collapsed_table_has_one_and_a_full_one_its_width() -> None:
    assert information_abundance(np.outer(np.arange(1.0, 50), np.ones(16))) == pytest.approx(1, abs=1e-5)
    assert information_abundance(np.eye(16)) == pytest.approx(16)


def test_zeros_and_an_empty_table_have_none() -> None:
    assert information_abundance(np.zeros((4, 3))) == information_abundance(np.zeros((0, 3))) == 0


def test_a_table_that_diverged_is_not_taken_for_an_empty_one() -> None:
    for bad in (np.nan, np.inf):
        assert np.isnan(information_abundance(np.array([[1.0, bad], [1.0, 2.0]])))
    with pytest.raises(ValueError, match=r"`table` must be \[V, d\]. Received: \(3,\)"):
        information_abundance(np.ones(3))


def test_norms_are_those_of_the_rows() -> None:
    table = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    np.testing.assert_allclose(row_norms(table), np.linalg.norm(table.astype(np.float64), axis=1))


def test_marks_tell_the_rows_that_changed() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(1000, 40)).astype(np.float32)
    after, changed = before.copy(), rng.random(1000) < 0.3
    after[changed] = np.nextafter(after[changed], np.float32(np.inf))
    np.testing.assert_array_equal(row_marks(before) != row_marks(after), changed)
    swapped = before[:, ::-1]
    assert (row_marks(before) != row_marks(swapped)).all()
    assert (row_marks(np.zeros((3, 5), np.float32)) == 0).all()
