"""A training that diverges stops with the step and the cause, and what was good before it is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec
from pipeline.divergence import bad_features, diverged, is_divergence

SPEC = DataSpec.model_validate(
    {
        "name": "small",
        "label": "label",
        "splits": {"train": "a.csv", "eval": "b.csv", "test": "c.csv"},
        "features": {"user": {"type": "categorical"}, "price": {"type": "numeric"}},
    }
)


def batch_of(*prices: float) -> dict[str, np.ndarray]:
    price = np.array(prices, np.float32)
    return {"user": np.ones(len(price), np.int64), "price": price, "price/missing": np.zeros_like(price)}


@pytest.fixture
def model() -> CETNet:
    made = CETNet(
        SPEC, {"user": 3}, [{"type": "dcnv2", "embedding_dim": 2, "hidden": [2], "cross_layers": 1}]
    )
    made.compile("sgd")
    return made


@pytest.mark.parametrize("price", [-np.inf, np.nan, 3e38])
def test_a_step_whose_loss_is_no_number_moves_nothing(model: CETNet, price: float) -> None:
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        model.train_on_batch(batch_of(1.0, price), np.array([1.0, 0.0]))
    assert is_divergence(raised.value)
    trained = len(model.trainable_variables)
    for one, other in zip(model.get_weights()[:trained], before[:trained], strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(model.optimizer.iterations) == 0


def test_features_that_no_model_can_learn_from_are_named(model: CETNet) -> None:
    assert bad_features(model, batch_of(1.0, 1e17)) == []
    assert bad_features(model, batch_of(1.0, -3e38)) == ["'price' as large as 3e+38"]
    assert bad_features(model, batch_of(np.nan, 1.0)) == ["'price' not finite"]


def test_the_best_weights_are_kept_as_a_model(model: CETNet, tmp_path: Path) -> None:
    batch, label = batch_of(1.0, 2.0), np.array([1.0, 0.0])
    model.train_on_batch(batch, label)
    best, expected = model.get_weights(), model(batch)["ctr"].numpy()
    model.train_on_batch(batch, label)
    error = str(diverged(model, batch_of(1.0, np.inf), best, tmp_path / "7"))
    path = tmp_path / "last_good" / "7.keras"
    assert error == (
        "the loss or its gradient in training step 3 is not a number; its batch has 'price' not finite: mend the rows, or "
        f"give the feature another `transform`; the best weights before it are kept: {path}"
    )
    np.testing.assert_allclose(tf.keras.models.load_model(path)(batch)["ctr"], expected, rtol=1e-6)


def test_a_run_that_diverges_fails_with_one_line_and_leaves_what_was_there(
    first_output: Path, project: Callable[..., Path], run_cetnet: Any
) -> None:
    pushed = sorted(path.name for path in first_output.glob("serving/*/*"))
    folder = project(
        model="members: [{type: dcnv2, hidden: [8]}]\ntraining: {learning_rate: 1.0e+30, batch_size: 16}\n"
    )
    paths = ("--data", folder / "data.yaml", "--model", folder / "model.yaml", "--output", first_output)
    result = run_cetnet("run", *paths)
    assert result.exit_code == 1, result.stdout + result.stderr
    assert (
        result.stderr.startswith("Error: the loss or its gradient in training step ")
        and result.stderr.count("\n") == 1
    )
    assert "is not a number; no feature has such values: lower `learning_rate`, or set" in result.stderr
    assert "no evaluation came before, so nothing is kept" in result.stderr
    assert sorted(path.name for path in first_output.glob("serving/*/*")) == pushed
