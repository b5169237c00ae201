"""Two replicas give the numbers of one, and no op of a training step is as large as an embedding table."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest


class Trainings(NamedTuple):
    """What replica_training.py found."""

    weights: dict[str, np.ndarray]
    ops: dict[str, dict]
    logs: dict[str, list[dict[str, list[float]]]]

    def of(self, name: str) -> list[np.ndarray]:
        return [weight for key, weight in self.weights.items() if key.startswith(f"{name} ")]


@pytest.fixture(scope="module")
def trainings(replica_training: tuple[subprocess.Popen[bytes], Path]) -> Trainings:
    process, output = replica_training
    assert process.wait() == 0, Path(f"{output}.log").read_text()[-4000:]
    with np.load(f"{output}.npz") as weights:
        return Trainings(dict(weights), **json.loads(Path(f"{output}.json").read_text()))


@pytest.mark.parametrize(
    ("training", "tables"), [("lazy_adam", 3), ("row_wise_adagrad", 1), ("clipped", 2), ("batch_norm", 1)]
)
def test_two_replicas_give_the_weights_of_one(training: str, tables: int, trainings: Trainings) -> None:
    """Duplicate ids across replicas, uneven and empty shares of a last batch, L2 on embeddings, clips; through `fit`."""
    one, two = trainings.of(f"{training} 1"), trainings.of(f"{training} 2")
    assert sum(weight.shape[:1] == (1050,) for weight in one) == tables
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("training", ["lazy_adam", "row_wise_adagrad", "clipped", "batch_norm"])
def test_two_replicas_log_the_losses_of_one(training: str, trainings: Trainings) -> None:
    one, two = trainings.logs[f"{training} 1"], trainings.logs[f"{training} 2"]
    assert [set(log) for log in two] == [set(log) for log in one] and "val_loss_fused" in one[0]
    for a, b in zip(one, two, strict=True):
        for key, values in a.items():
            np.testing.assert_allclose(b[key], values, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("optimizer", ["lazy_adam", "row_wise_adagrad", "clipped"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_no_op_of_a_training_step_is_as_large_as_a_table(
    optimizer: str, replicas: int, trainings: Trainings
) -> None:
    ops = trainings.ops[f"{optimizer} {replicas}"]
    assert ops["total"] > 300 * replicas
    assert ops["of_known_rank"] > 0.9 * ops["outputs"]
    assert ops["of_table_size"] == []


@pytest.mark.parametrize("op", ["Mul Adam/update", "ReadVariableOp member_dcnv2/features/stock_lookup"])
def test_keras_own_optimiser_and_lookup_have_such_ops(op: str, trainings: Trainings) -> None:
    """So the test above can fail."""
    assert [found for found in trainings.ops["stock"]["of_table_size"] if found.startswith(op)]
