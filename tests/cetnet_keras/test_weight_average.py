"""The running average of the weights, against its formula on weights that were written down."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam, WeightAverage

Batch = dict[str, np.ndarray]
STEPS, EPOCHS = 3, 4


class WriteDown(tf.keras.callbacks.Callback):
    """Writes down the weights after each step, at each epoch's end as others see them, and as the next begins."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[np.ndarray]] = []
        self.ends: list[list[np.ndarray]] = []
        self.copies: list[list[np.ndarray]] = []  # of `ends`, which may be views of the variables' memory
        self.begins: list[list[np.ndarray]] = []

    def weights(self) -> list[np.ndarray]:
        return [v.numpy() for member in self.model.members for v in member.variables]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(self.weights())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append(self.weights())
        self.copies.append([value.copy() for value in self.ends[-1]])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begins.append(self.weights())


@pytest.fixture(scope="module")
def fitted(
    spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> tuple[CETNet, WriteDown]:
    member = {"type": "dcnv2", "embedding_dim": 4, "hidden": [4], "cross_layers": 1, "batch_norm": True}
    model = CETNet(spec, sizes, [member])
    model.compile(LazyAdam(0.05))
    batch, written = make_batch(spec, sizes, rows=6), WriteDown()
    average = WeightAverage(STEPS)
    label = np.array([0, 1, 0, 1, 1, 0], np.float32)
    model.fit(batch, label, batch_size=2, epochs=EPOCHS, callbacks=[average, written], verbose=0)
    return model, written


def test_the_average_is_that_of_its_formula(fitted: tuple[CETNet, WriteDown]) -> None:
    _, written = fitted
    assert len(written.steps) == STEPS * EPOCHS
    average = [value.astype(np.float64) for value in written.steps[0]]
    for n, values in enumerate(written.steps, 1):
        share = 1 - min(1.0, n / (9 + n))  # of tf.train.ExponentialMovingAverage with num_updates = n - 1
        average = [a + share * (value - a) for a, value in zip(average, values, strict=True)]
        if n % STEPS == 0:
            for found, expected in zip(written.ends[n // STEPS - 1], average, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    last = written.steps[-1]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(written.ends[-1], last, strict=True))


def test_what_early_stopping_holds_on_to_stays_as_it_was(fitted: tuple[CETNet, WriteDown]) -> None:
    _, written = fitted
    for held, copied in zip(written.ends, written.copies, strict=True):
        for found, expected in zip(held, copied, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_training_goes_on_from_the_latest_weights_and_ends_with_the_average(
    fitted: tuple[CETNet, WriteDown],
) -> None:
    model, written = fitted
    for epoch in range(1, EPOCHS):
        for found, expected in zip(written.begins[epoch], written.steps[STEPS * epoch - 1], strict=True):
            np.testing.assert_array_equal(found, expected)
    written.model = model
    for found, expected in zip(written.weights(), written.ends[-1], strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("steps_at_once", "looks"), [(1, 100), (3, 100), (10, 30)])
def test_an_epoch_is_looked_at_a_hundred_times_however_long(
    steps_at_once: int, looks: int, spec: DataSpec, sizes: dict[str, int]
) -> None:
    """With `steps_per_execution` Keras names the last step of each execution."""
    model = CETNet(spec, sizes, [{"type": "mlp", "embedding_dim": 2, "hidden": [2]}])
    average = WeightAverage(300)
    average.set_model(model)
    for epoch in range(2):
        average.on_epoch_begin(epoch)
        for last in range(steps_at_once - 1, 300, steps_at_once):
            average.on_train_batch_end(last)
        assert average._seen == (epoch + 1) * looks


def test_epochs_shorter_than_was_said_are_looked_at_when_they_end(
    spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> None:
    model = CETNet(spec, sizes, [{"type": "mlp", "embedding_dim": 4, "hidden": [4]}])
    model.compile(LazyAdam(0.05))
    batch, written = make_batch(spec, sizes, rows=6), WriteDown()
    label = np.array([0, 1, 0, 1, 1, 0], np.float32)
    callbacks = [WeightAverage(100_000), written]
    model.fit(batch, label, batch_size=2, epochs=2, callbacks=callbacks, verbose=0)
    first, last = written.steps[2], written.steps[-1]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(first, last, strict=True))
    for found, a, b in zip(written.ends[-1], first, last, strict=True):
        np.testing.assert_allclose(found, a + (b - a) * 9 / 11, rtol=1e-4, atol=1e-6)


def test_an_epoch_has_steps() -> None:
    with pytest.raises(ValueError, match="found 0, expected 1 or more"):
        WeightAverage(0)


def test_validation_is_of_the_average_that_early_stopping_keeps(
    spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> None:
    model = CETNet(spec, sizes, [{"type": "mlp", "embedding_dim": 4, "hidden": [4]}])
    model.compile(LazyAdam(0.1))
    batch, label, found = make_batch(spec, sizes, rows=6), np.array([0, 1, 0, 1, 1, 0], np.float32), []

    class Compare(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept = self.model.evaluate(batch, label, return_dict=True, verbose=0)["loss"]
            found.append((logs["val_loss"], kept))

    callbacks = [WeightAverage(STEPS), Compare()]
    model.fit(
        batch, label, batch_size=2, epochs=4, validation_data=(batch, label), callbacks=callbacks, verbose=0
    )
    assert len({logged for logged, _ in found}) == 4
    for logged, kept in found:
        assert logged == pytest.approx(kept, rel=1e-6)


def test_each_fit_starts_anew(
    spec: DataSpec, sizes: dict[str, int], make_batch: Callable[..., Batch]
) -> None:
    batch, label = make_batch(spec, sizes, rows=6), np.array([0, 1, 0, 1, 1, 0], np.float32)
    average = WeightAverage(STEPS)
    for rate in (0.1, 0.0):
        model = CETNet(spec, sizes, [{"type": "mlp", "embedding_dim": 4, "hidden": [4]}])
        model.compile(LazyAdam(rate))
        before = [variable.numpy().copy() for variable in model.trainable_variables]
        model.fit(batch, label, batch_size=2, epochs=2, callbacks=[average], verbose=0)
    for variable, expected in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)
