"""The order in which training sees its rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import dataset
from pipeline.dataset import shuffled_records

ROWS = 2_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Rows that are numbers, sorted, in two files."""
    folder = tmp_path_factory.mktemp("sorted")
    for part in (0, 1):
        with tf.io.TFRecordWriter(f"{folder}/rows-{part}.gz", "GZIP") as writer:
            for number in range(part * ROWS // 2, (part + 1) * ROWS // 2):
                writer.write(str(number))
    return [f"{folder}/rows-*"]


@pytest.fixture(params=[300, ROWS], ids=["dealt-out", "in-memory"])
def passes(
    request: pytest.FixtureRequest, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., np.ndarray]:
    """(seed) -> the rows of two passes, [2, ROWS]."""
    monkeypatch.setattr(dataset, "SHUFFLE_ROWS", request.param)

    def run(seed: int = 1) -> np.ndarray:
        rows = shuffled_records(files, ROWS, seed, tmp_path).take(2 * ROWS)
        return np.array([int(row) for row in rows.as_numpy_iterator()]).reshape(2, ROWS)

    return run


def test_each_pass_has_every_row_once_in_an_order_that_knows_nothing_of_the_files(
    passes: Callable[..., np.ndarray],
) -> None:
    both = passes()
    for rows in both:
        assert sorted(rows) == list(range(ROWS))
        # sorted rows shuffled within a window would have .95; the standard error is .022
        assert abs(np.corrcoef(rows, np.arange(ROWS))[0, 1]) < 0.1
        shares = np.reshape(rows >= ROWS / 2, [10, -1]).mean(axis=1)
        assert np.abs(shares - 0.5).max() < 0.15, (
            "of the second file in each tenth; the standard error is .035"
        )
    assert abs(np.corrcoef(*both)[0, 1]) < 0.1


@pytest.mark.parametrize("of_all", [0, 1])
def test_the_order_is_that_of_its_seed(passes: Callable[..., np.ndarray], of_all: int) -> None:
    tf.keras.utils.set_random_seed(of_all)
    first = passes(1)
    np.testing.assert_array_equal(passes(1), first)
    assert (passes(2) != first).mean() > 0.9
