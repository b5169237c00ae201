"""The multilayer perceptron against its formula in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.mlp import Mlp

INPUTS = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)


def test_every_layer_is_a_linear_map_and_an_activation_the_last_one_too(
    randomise: Callable[..., None],
) -> None:
    mlp = Mlp([5, 2], activation="tanh")
    mlp(INPUTS)
    randomise(mlp)
    first, first_bias, last, last_bias = (weight.astype(np.float64) for weight in mlp.get_weights())
    expected = np.tanh(np.tanh(INPUTS @ first + first_bias) @ last + last_bias)
    np.testing.assert_allclose(mlp(INPUTS), expected, rtol=1e-5)


def test_batch_norm_stands_between_the_linear_map_and_the_activation() -> None:
    rows = INPUTS[:, 0]
    mlp = Mlp([5], activation="tanh", batch_norm=True)
    in_training = mlp(rows, training=True)
    (weights,) = (w.numpy().astype(np.float64) for w in mlp.trainable_variables if "kernel" in w.name)
    linear = rows @ weights
    mean, variance = linear.mean(axis=0), linear.var(axis=0)
    np.testing.assert_allclose(in_training, np.tanh((linear - mean) / np.sqrt(variance + 1e-5)), rtol=1e-3)
    mean, variance = 0.1 * mean, 0.9 + 0.1 * variance  # the moving averages after one batch
    expected = np.tanh((linear - mean) / np.sqrt(variance + 1e-5))
    np.testing.assert_allclose(mlp(rows, training=False), expected, rtol=1e-4)


def test_no_layers_give_the_input_back() -> None:
    np.testing.assert_array_equal(Mlp([])(INPUTS), INPUTS)


def test_dropout_acts_in_training_alone_and_keeps_the_mean() -> None:
    tf.keras.utils.set_random_seed(0)
    mlp = Mlp([2000], activation="linear", dropout=0.25)
    calm, dropped = mlp(INPUTS, training=False).numpy(), mlp(INPUTS, training=True).numpy()
    np.testing.assert_allclose(np.mean(dropped == 0), 0.25, atol=0.02)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], calm[kept] / 0.75, rtol=1e-4)


def test_contract(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    assert_layer_contract(Mlp([3, 2], activation="sigmoid", dropout=0.1, name="mlp"), [INPUTS], tmp_path)
    assert_layer_contract(Mlp([3, 2], batch_norm=True, name="mlp"), [INPUTS], tmp_path)


def test_widths_and_dropout_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`units` must be above 0\. Received: units=\[3, 0\]"):
        Mlp([3, 0])
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\)\. Received: dropout=1\.0"):
        Mlp([3], dropout=1.0)
