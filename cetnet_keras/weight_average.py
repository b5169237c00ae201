"""A running average of the weights: what a lower learning rate gives, without giving up the rate."""

from typing import Any

import numpy as np
import tensorflow as tf

_SAMPLES = 100  # an epoch: the cost is that of as many copies of the weights, however many steps there are


class WeightAverage(tf.keras.callbacks.Callback):
    """Gives the model an average of its weights at the end of each epoch, and takes them back as the next one begins.

    What looks at the model between the two sees the average: fit's own validation, callbacks behind this one in the list,
    so that early stopping keeps the best average, and whoever has the model after training. Each `fit` starts anew.
    The n-th of the weights looked at has a share of 9 / (9 + n) in the average, which is so over about the last ninth of
    the training so far. The moving statistics of batch normalisation are averaged with the rest.
    Source: Polyak and Juditsky 1992; the share is that of `tf.train.ExponentialMovingAverage(num_updates=n - 1)`, taken
    100 to 199 times an epoch and not at each step, so that no step costs more for a large table (our choice). Memory: two
    more copies of the weights, on the host.

    Args:
        steps: training steps of an epoch. An epoch that has too few for that is looked at when it ends.

    Raises:
        ValueError: `steps` is less than 1.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"WeightAverage: steps, those of an epoch: found {steps}, expected 1 or more")
        self._every = max(1, steps // _SAMPLES)
        self.on_train_begin()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._step = self._seen = self._before = 0
        self._in_epoch = self._looked = False  # looked: in this epoch
        self._average: list[np.ndarray] = []
        self._latest: list[np.ndarray] | None = None  # while the average is in the model

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self._before + batch + 1  # Keras asks once for `steps_per_execution` steps
        if done // self._every > self._step // self._every:
            self._look()
        self._step = done

    def _look(self) -> None:
        latest = self._values()
        self._seen, self._looked = self._seen + 1, True
        share = 9 / (9 + self._seen)
        # new arrays each time: variables, and whoever read them, can hold on to the memory of what was assigned
        self._average = [
            a + (value - a) * share for a, value in zip(self._average or latest, latest, strict=True)
        ]

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._in_epoch:  # fit's own validation, which comes before the end of the epoch
            self._give()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._give()
        self._in_epoch = False

    def _give(self) -> None:
        if self._latest is not None:
            return
        if not self._looked:  # the epoch is shorter than was said
            self._look()
        self._latest = self._values()
        self._assign(self._average)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._in_epoch, self._looked, self._before = True, False, self._step
        if self._latest is not None:
            self._assign(self._latest)
            self._latest = None

    def _variables(self) -> list[tf.Variable]:
        sums = {id(variable) for metric in self.model.metrics for variable in metric.variables}
        return [v for v in self.model.variables if v.dtype.is_floating and id(v) not in sums]

    def _values(self) -> list[np.ndarray]:
        return [variable.numpy().copy() for variable in self._variables()]

    def _assign(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
