"""The eval split during training: its rows, and the callback that measures the model on them."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from cetnet_keras.metrics import auc, log_loss, weight_among_all
from cetnet_keras.spec import DataSpec
from pipeline.dataset import inputs_of
from pipeline.groups import auc_within_groups
from pipeline.transform import GROUP_KEY


class EvalSplit(NamedTuple):
    """The rows that training stops by."""

    inputs: tf.data.Dataset  # of FeatureBatch
    label: np.ndarray  # [N]
    weight: np.ndarray  # [N], that of the data, or 1
    counts: np.ndarray  # [N], how often a row counts among all rows, those that were dropped too
    group: np.ndarray | None  # [N] int64, NO_GROUP where a row has none

    @classmethod
    def read(cls, spec: DataSpec, batches: tf.data.Dataset) -> "EvalSplit":
        """Reads labels, weights and groups into memory; inputs stay a dataset, which is cached as it is first read."""
        keys = [spec.label, *([spec.weight] if spec.weight else []), *([GROUP_KEY] if spec.group else [])]
        parts = list(batches.map(lambda batch: {key: batch[key] for key in keys}).as_numpy_iterator())
        column = {key: np.concatenate([part[key] for part in parts]) for key in keys}
        label = column[spec.label]
        weight = column[spec.weight] if spec.weight else np.ones(len(label))
        counts = weight_among_all(label, weight, spec.negative_keep_rate)
        inputs = batches.map(lambda batch: inputs_of(spec, batch)).cache()
        return cls(inputs, label, weight, counts, column.get(GROUP_KEY))

    def measure(self, ctr: np.ndarray) -> dict[str, float]:
        """auc, log_loss and, where there are groups, gauc and gauc_mean of predictions [N]; NaN where undefined."""
        found = {
            "auc": auc(self.label, ctr, self.counts),
            "log_loss": log_loss(self.label, ctr, self.counts),
        }
        if self.group is not None:
            by_group = auc_within_groups(self.label, ctr, self.group, self.counts)
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

    def measure(self) -> dict[str, float]:
        """eval_<metric> of the model's fused predictions and eval_<member>_<metric> of its members'."""
        predictions = self.model.predict(self._split.inputs, verbose=0)
        measured = self._split.measure(predictions["ctr"])
        for member, name in enumerate(self.model.member_names):
            found = self._split.measure(predictions["member_ctr"][:, member])
            measured |= {f"{name}_{metric}": value for metric, value in found.items()}
        return {f"eval_{key}": value for key, value in measured.items()}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        measured = self.measure()
        if logs is not None:
            logs.update(measured)
        shown = {key.removeprefix("eval_"): round(value, 5) for key, value in measured.items()}
        logging.info("Evaluation %d: %s", epoch + 1, shown)
