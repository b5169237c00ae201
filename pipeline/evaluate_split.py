"""The eval split during training: its rows, and the callback that measures the model on them."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from cetnet_keras.metrics import auc, group_auc, log_loss
from cetnet_keras.spec import DataSpec
from pipeline.dataset import inputs_of
from pipeline.transform import GROUP_KEY


class EvalSplit(NamedTuple):
    """The rows that training stops by."""

    inputs: tf.data.Dataset  # of FeatureBatch
    label: np.ndarray  # [N]
    group: np.ndarray | None  # [N] int64

    @classmethod
    def read(cls, spec: DataSpec, batches: tf.data.Dataset) -> "EvalSplit":
        """Reads labels and groups into memory; inputs stay a dataset, which is cached as it is first read."""
        wanted = [spec.label] if spec.group is None else [spec.label, GROUP_KEY]
        parts = list(batches.map(lambda batch: [batch[key] for key in wanted]).as_numpy_iterator())
        label, *group = (np.concatenate(column) for column in zip(*parts, strict=True))
        inputs = batches.map(lambda batch: inputs_of(spec, batch)).cache()
        return cls(inputs, label, group[0] if group else None)

    def measure(self, ctr: np.ndarray) -> dict[str, float]:
        """auc, log_loss and, where there are groups, gauc and gauc_mean of predictions [N]; NaN where undefined."""
        found = {"auc": auc(self.label, ctr), "log_loss": log_loss(self.label, ctr)}
        if self.group is not None:
            by_group = group_auc(self.label, ctr, self.group)
            found |= {"gauc": by_group.weighted, "gauc_mean": by_group.mean}
        return {key: float(value) for key, value in found.items()}


class EvaluateSplit(tf.keras.callbacks.Callback):
    """Measures the model on the eval split at the end of each Keras epoch and adds `eval_...` to its logs.

    Args:
        split: the rows.
        monitor: what counts as gain. Where it is not defined on these rows (no groups, or one class alone) the next of
            gauc, auc, log_loss that is defined takes its place.
    """

    def __init__(self, split: EvalSplit, monitor: str) -> None:
        super().__init__()
        self._split = split
        chance = split.measure(np.random.default_rng(0).random(len(split.label)))
        order = [monitor, *(name for name in ("gauc", "auc", "log_loss") if name != monitor)]
        chosen = next(name for name in order if np.isfinite(chance.get(name, np.nan)))
        self.monitored, self.mode = f"eval_{chosen}", "min" if chosen == "log_loss" else "max"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        predictions = self.model.predict(self._split.inputs, verbose=0)
        measured = self._split.measure(predictions["ctr"])
        for member, name in enumerate(self.model.member_names):
            found = self._split.measure(predictions["member_ctr"][:, member])
            measured |= {f"{name}_{metric}": value for metric, value in found.items()}
        if logs is not None:
            logs.update({f"eval_{key}": value for key, value in measured.items()})
        logging.info(
            "Evaluation %d: %s", epoch + 1, {key: round(value, 5) for key, value in measured.items()}
        )
